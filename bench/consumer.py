"""`consumer`: events come from Kafka and have their effect once; the limit is the same effect without any inbox.

Every side fetches the same records by the same client in its own process and decodes every value once. Offsets in
Kafka are the only memory of the limit, so it commits them after each batch; a worker's are in its database, and it
tells Kafka once a second beside its work.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from bench import facts
from bench.measure import Options, Result, Stopwatch, in_turn, median, median_ratio
from bench.relay import publish_all
from bench.servers import Servers
from shared.clock import Clock
from shared.events import EnrolmentActivated, EnrolmentApproved, EnrolmentRequested, MilestoneReached
from shared.events.event import Event
from shared.ids import new_id
from shared.messaging.consumer import BATCHES_PER_FETCH, Consumer
from shared.messaging.handler import Handler, Received, Record
from shared.messaging.subscription import COMMIT_SECONDS
from shared.postgres.pool import Connection, Pool, create_pool
from shared.settings import Settings

EVENTS, SAMPLE, PLAIN = 100_000, 1_000, 300
GOAL = 0.8
TOPIC = EnrolmentRequested.topic
TYPES: tuple[type[Event], ...] = (EnrolmentRequested, EnrolmentApproved, EnrolmentActivated, MilestoneReached)

_TABLE = """
create table steps (
    caused_by uuid not null, enrolment_id uuid not null, person_id uuid not null, cohort_id uuid not null,
    unit_id uuid not null, type text not null, at timestamptz not null)
"""
_INSERT = """
insert into steps select * from unnest(
    $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[])
"""


def run(servers: Servers, options: Options) -> Result:
    """Rates in events per second, from the first fetch to the last commit."""
    return uvloop.run(_run(servers, options))


async def _run(servers: Servers, options: Options) -> Result:
    template = await servers.template("portal")
    conn = await asyncpg.connect(servers.dsn(template))
    await conn.execute(_TABLE)
    await conn.close()
    total = options.size(EVENTS)
    await publish_all(servers, facts.enrolment_events(total))
    sample = min(SAMPLE, total)
    sides = {
        "ours": lambda: _measure(servers, template, _ours, total),
        "limit": lambda: _measure(servers, template, _limit, total),
        "one by one": lambda: _measure(servers, template, _one_by_one, sample),
        "faststream": lambda: _plain_faststream(servers, template, min(PLAIN, total)),
    }
    rounds = await in_turn(sides, options)
    await servers.drop(template)
    return Result(
        name="consumer", unit="events/s", goal=GOAL, ours=median(rounds, "ours"), limit=median(rounds, "limit"),
        ratio=median_ratio(rounds, "ours", "limit"), rounds=rounds,
        peers={
            "one transaction per message": {
                "rate": median(rounds, "one by one"), "ours_over_peer": median_ratio(rounds, "ours", "one by one")
            },
            "a plain FastStream handler": {
                "rate": median(rounds, "faststream"), "ours_over_peer": median_ratio(rounds, "ours", "faststream")
            },
        },
        details={"events": total},
    )  # fmt: skip


Handle = Callable[[Sequence[Record]], Awaitable[None]]
Side = Callable[[Pool, Settings], Handle]


async def _measure(servers: Servers, template: str, side: Side, total: int) -> float:
    """Let one side take `total` events, in an empty database of its own."""
    database = await servers.clone(template)
    settings = servers.settings(Settings, database)
    client = AIOKafkaConsumer(
        **settings.kafka_client(), group_id=f"bench-{new_id()}", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await client.start()
    async with await create_pool(settings, name="bench") as pool:
        await pool.fetchval("select count(*) from steps")  # connected, as a worker is
        client.assign([TopicPartition(TOPIC, number) for number in range(6)])
        watch = Stopwatch()
        telling = asyncio.create_task(_tell(client)) if side is _ours else None
        await _feed(
            client, side(pool, settings), settings.batch_size * BATCHES_PER_FETCH, total, commit=telling is None
        )
        seconds = watch.seconds
        if telling is not None:
            telling.cancel()
            await asyncio.wait([telling])
        assert await pool.fetchval("select count(distinct caused_by) from steps") == total
    await client.stop()
    await servers.drop(database)
    return total / seconds


async def _plain_faststream(servers: Servers, template: str, total: int) -> float:
    """A FastStream handler as its documents show it: for each message a row, then its acknowledgement; no inbox."""
    database = await servers.clone(template)
    broker = KafkaBroker(servers.kafka.bootstrap, logger=None)
    handled: list[float] = []
    enough = asyncio.Event()
    async with await create_pool(servers.settings(Settings, database), name="bench") as pool:

        @broker.subscriber(
            TOPIC, group_id=f"bench-{new_id()}", auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR
        )
        async def step(body: dict[str, Any], message: KafkaMessage) -> None:
            told = message.headers
            await pool.execute(
                "insert into steps values ($1, $2, $3, $4, $5, $6, $7)",
                told["ce_id"], body["enrolment_id"], body["person_id"], body["cohort_id"], body["unit_id"],
                told["ce_type"], datetime.fromisoformat(told["ce_time"]),
            )  # fmt: skip
            handled.append(time.perf_counter())
            if len(handled) >= total:
                enough.set()

        async with broker:
            await broker.start()
            async with asyncio.timeout(120):
                await enough.wait()
    await servers.drop(database)
    return (total - 1) / (handled[total - 1] - handled[0])


async def _feed(client: AIOKafkaConsumer, handle: Handle, most: int, total: int, *, commit: bool) -> None:
    """Fetch, handle, and commit the offsets where nobody else does."""
    taken = 0
    while taken < total:
        fetched = await client.getmany(timeout_ms=1000, max_records=min(most, total - taken))
        records = [record for batch in fetched.values() for record in batch]
        if records:
            await handle(records)
            if commit:
                await client.commit({place: batch[-1].offset + 1 for place, batch in fetched.items()})
            taken += len(records)


async def _tell(client: AIOKafkaConsumer) -> None:
    """Commit the positions once a second, as a worker's subscription does."""
    while True:
        await asyncio.sleep(COMMIT_SECONDS)
        await client.commit({place: await client.position(place) for place in client.assignment()})


def _ours(pool: Pool, settings: Settings) -> Handle:
    """The consumer of a worker, as it is, with one handler."""
    handler = Handler("bench.steps.add", TYPES, _add_steps, "every_fact", effect="steps.caused_by")
    hours = timedelta(hours=settings.park_timeout_hours)
    return Consumer(pool, Clock(None), service="portal", handlers=[handler], park_timeout=hours).handle


async def _add_steps(conn: Connection, events: Sequence[Received[Any]], _: datetime) -> None:
    facts_ = [event.data for event in events]
    await conn.execute(
        _INSERT,
        [event.id for event in events],
        [fact.enrolment_id for fact in facts_],
        [fact.person_id for fact in facts_],
        [fact.cohort_id for fact in facts_],
        [fact.unit_id for fact in facts_],
        [event.type for event in events],
        [event.time for event in events],
    )


def _limit(pool: Pool, _: Settings) -> Handle:
    """The same rows in one statement that commits by itself; ids go from JSON to the driver unlooked at."""

    async def handle(records: Sequence[Record]) -> None:
        headers = [dict(record.headers) for record in records]
        values = [json.loads(record.value or b"") for record in records]
        await pool.execute(
            _INSERT,
            [header["ce_id"].decode() for header in headers],
            [value["enrolment_id"] for value in values],
            [value["person_id"] for value in values],
            [value["cohort_id"] for value in values],
            [value["unit_id"] for value in values],
            [header["ce_type"].decode() for header in headers],
            [datetime.fromisoformat(header["ce_time"].decode()) for header in headers],
        )

    return handle


def _one_by_one(pool: Pool, _: Settings) -> Handle:
    """What the textbook consumer does: for each message a transaction of inbox and effect."""

    async def handle(records: Sequence[Record]) -> None:
        for record in records:
            header, value = dict(record.headers), json.loads(record.value or b"")
            id_ = header["ce_id"].decode()
            async with pool.acquire() as conn, conn.transaction():
                if await conn.fetchval(
                    "insert into inbox (handler, event_id) values ('bench', $1) on conflict do nothing returning true",
                    id_,
                ):
                    await conn.execute(
                        "insert into steps values ($1, $2, $3, $4, $5, $6, $7)",
                        id_, value["enrolment_id"], value["person_id"], value["cohort_id"], value["unit_id"],
                        header["ce_type"].decode(), datetime.fromisoformat(header["ce_time"].decode()),
                    )  # fmt: skip

    return handle
