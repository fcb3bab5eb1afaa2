"""`relay`: a backlog in the outbox goes to Kafka; the limit is a bare client that has the same records in memory."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from bench import debezium_peer, facts
from bench.measure import Options, Result, Stopwatch, in_turn, median, median_ratio, until
from bench.servers import Servers
from shared.events.envelope import kafka_headers
from shared.events.event import Event
from shared.messaging.relay import Relay
from shared.postgres.pool import create_pool
from shared.settings import Settings

BACKLOG, SAMPLE = 200_000, 400
GOAL = 0.8
_UNPUBLISHED = "select count(*) from outbox where published_at is null"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One record as the bare client has it: nothing left to be made of it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    millis: int


def run(servers: Servers, options: Options) -> Result:
    """Rates in events per second, each from no connection to the last one acknowledged (and, for relays, marked)."""
    return uvloop.run(_run(servers, options))


async def _run(servers: Servers, options: Options) -> Result:
    template = await servers.template("enrolment")
    await _fill(servers, template, facts.enrolment_events(options.size(BACKLOG)))
    records = await _prepared(servers, template)
    sides = {
        "ours": lambda: _ours(servers, template),
        "limit": lambda: _limit(servers, records),
        "by hand": lambda: _hand_made_batches(servers, records),
        "row by row": lambda: _row_by_row(servers, template, min(SAMPLE, len(records))),
    }
    if (missing := debezium_peer.available()) is None:
        sides["debezium"] = lambda: debezium_peer.backlog(servers, template)
    rounds = await in_turn(sides, options)
    await servers.drop(template)
    return Result(
        name="relay", unit="events/s", goal=GOAL, ours=median(rounds, "ours"), limit=median(rounds, "limit"),
        ratio=median_ratio(rounds, "ours", "limit"), rounds=rounds,
        peers={
            "row by row": {
                "rate": median(rounds, "row by row"), "ours_over_peer": median_ratio(rounds, "ours", "row by row")
            },
            "batches by hand": {
                "rate": median(rounds, "by hand"), "ours_over_peer": median_ratio(rounds, "ours", "by hand")
            },
            "debezium": f"not measured: {missing}" if missing else {
                "rate": median(rounds, "debezium"), "ours_over_peer": median_ratio(rounds, "ours", "debezium")
            },
        },
        details={"backlog": len(records)},
    )  # fmt: skip


async def _fill(servers: Servers, template: str, events: list[Event]) -> None:
    async with await create_pool(servers.settings(Settings, template), name="bench") as pool:
        await facts.announce(pool, events)
        await pool.execute("vacuum analyze outbox")


async def _prepared(servers: Servers, template: str) -> list[Prepared]:
    conn = await asyncpg.connect(servers.dsn(template))
    rows = await conn.fetch("select topic, key, payload, headers, created_at from outbox order by seq")
    await conn.close()
    return [
        Prepared(
            row["topic"], row["key"].encode(), row["payload"], kafka_headers(row["headers"]),
            int(row["created_at"].timestamp() * 1000),
        )
        for row in rows
    ]  # fmt: skip


async def publish_all(servers: Servers, events: list[Event]) -> None:
    """Have these on Kafka, as a service would: for benchmarks of what comes after."""
    database = await servers.template("enrolment")
    await _fill(servers, database, events)
    await _relay_all(servers, database)


async def _ours(servers: Servers, template: str) -> float:
    return await _relay_all(servers, await servers.clone(template))


async def _relay_all(servers: Servers, database: str) -> float:
    """The relay of a worker, as it is, until the outbox of this database is published; then drop it."""
    settings = servers.settings(Settings, database)
    conn = await asyncpg.connect(servers.dsn(database))
    backlog: int = await conn.fetchval(_UNPUBLISHED)
    relay = Relay(settings, service="enrolment")
    watch = Stopwatch()
    running = asyncio.create_task(relay.run())
    await until(lambda: relay.published >= backlog)
    seconds = watch.seconds
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await conn.fetchval(_UNPUBLISHED) == 0
    await conn.close()
    await servers.drop(database)
    return backlog / seconds


async def _limit(servers: Servers, records: list[Prepared]) -> float:
    """A bare client: idempotent, acks=all, everything in flight that the client lets be in flight."""
    watch = Stopwatch()
    async with AIOKafkaProducer(
        bootstrap_servers=servers.kafka.bootstrap, enable_idempotence=True, acks="all",
        max_batch_size=950_000, max_request_size=1_000_000,
    ) as producer:  # fmt: skip
        sent = [
            await producer.send(each.topic, each.value, each.key, headers=each.headers, timestamp_ms=each.millis)
            for each in records
        ]
        await producer.flush()
        seconds = watch.seconds
    assert all(each.done() and not each.exception() for each in sent)
    return len(records) / seconds


async def _hand_made_batches(servers: Servers, records: list[Prepared]) -> float:
    """A bare client that goes beneath `send`, to `create_batch`: harder than the limit, so it is told beside it."""
    place, sent = DefaultPartitioner(), []
    filling: dict[int, Any] = {}
    watch = Stopwatch()
    async with AIOKafkaProducer(
        bootstrap_servers=servers.kafka.bootstrap, enable_idempotence=True, acks="all",
        max_batch_size=950_000, max_request_size=1_000_000,
    ) as producer:  # fmt: skip
        numbers = sorted(await producer.partitions_for(records[0].topic))
        for each in records:
            number = place(each.key, numbers, numbers)
            record = {"timestamp": each.millis, "key": each.key, "value": each.value, "headers": each.headers}
            batch = filling.get(number)
            if batch is None or batch.append(**record) is None:
                if batch is not None:
                    sent.append(await producer.send_batch(batch, each.topic, partition=number))
                batch = filling[number] = producer.create_batch()
                batch.append(**record)
        for number, batch in filling.items():
            sent.append(await producer.send_batch(batch, records[0].topic, partition=number))
        await asyncio.gather(*sent)
        seconds = watch.seconds
    return len(records) / seconds


async def _row_by_row(servers: Servers, template: str, sample: int) -> float:
    """What the textbook relay does: take one row, wait for its acknowledgement, mark it."""
    database = await servers.clone(template)
    conn = await asyncpg.connect(servers.dsn(database))
    async with AIOKafkaProducer(
        bootstrap_servers=servers.kafka.bootstrap, enable_idempotence=True, acks="all"
    ) as producer:
        watch = Stopwatch()
        for _ in range(sample):
            row = await conn.fetchrow(
                "select seq, topic, key, headers, payload from outbox where published_at is null order by seq limit 1"
            )
            assert row is not None
            headers = kafka_headers(row["headers"])
            await producer.send_and_wait(row["topic"], row["payload"], row["key"].encode(), headers=headers)
            await conn.execute("update outbox set published_at = now() where seq = $1", row["seq"])
        seconds = watch.seconds
    await conn.close()
    await servers.drop(database)
    return sample / seconds
