"""`catch_up`: how much longer live events take while a handler that was added is given all that lies behind.

A worker of one service, in a process of its own, has two handlers. One has read everything; the other lacks it. Events
are committed to another service's outbox at a steady rate, and go through its relay. Latency is from that commit to the
commit of the first handler's effect, both as Postgres remembers them.
"""

import asyncio
import statistics
import sys

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench import facts
from bench.catch_up_process import LATER, handlers
from bench.measure import Options, Result, Stopwatch
from bench.relay import publish_all
from bench.relay_steady import Writer
from bench.servers import Servers
from deploy.embedded.process import Child, free_port
from shared.events import EnrolmentRequested
from shared.messaging import epoch, history
from shared.messaging.dispatch import Handlers
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings

EVENTS = 500_000
COMMITS = 100  # a second, of one event each
SECONDS, WARM_SECONDS = 30.0, 5.0
GOAL = 0.5
TOPIC = EnrolmentRequested.topic
_PATIENCE_SECONDS = 600.0

_TABLES = """
create table live (caused_by uuid not null, what text not null);
create table later (caused_by uuid not null, what text not null);
"""
_LEFT = "select coalesce(sum(until_offset - next_offset), 0) from handler_catch_up where handler = $1"

Figures = dict[str, float]


def run(servers: Servers, options: Options) -> Result:
    """p99 in milliseconds while the past is caught up; the limit is the same without, by the same worker."""
    return uvloop.run(_run(servers, options))


async def _run(servers: Servers, options: Options) -> Result:
    total = options.size(EVENTS)
    await publish_all(servers, facts.enrolment_events(total))
    rounds = []
    for _ in range(options.rounds):
        trial = _Trial(servers, await _database(servers, "enrolment"), await _database(servers, "portal"))
        try:
            rounds.append(await trial.play(options))
        finally:
            await trial.end()
        print("  " + "   ".join(f"{name} {value:,.1f}" for name, value in rounds[-1].items()), flush=True)
    middle = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return Result(
        name="catch_up", unit="ms p99 of live events", goal=GOAL,
        ours=middle["p99 during"], limit=middle["p99 without"],
        ratio=statistics.median(each["p99 without"] / each["p99 during"] for each in rounds), rounds=rounds,
        details={"median": middle, "events": total, "live": f"{COMMITS}/s"},
    )  # fmt: skip


async def _database(servers: Servers, service: str) -> str:
    template = await servers.template(service)
    if service == "portal":
        async with await create_pool(servers.settings(Settings, template), name="bench") as pool:
            await pool.execute(_TABLES)
    return template


class _Trial:
    """A publisher, a worker that has read everything, and what it lacks once it is told so."""

    def __init__(self, servers: Servers, publisher: str, consumer: str) -> None:
        self._servers, self._publisher, self._consumer = servers, publisher, consumer
        self._relay = self._child("steady_process", "relay", servers.dsn(publisher))
        self._worker = self._child("catch_up_process", servers.dsn(consumer), free_port())

    def _child(self, module: str, *arguments: object) -> Child:
        command = [sys.executable, "-m", f"bench.{module}", *map(str, arguments), self._servers.kafka.bootstrap]
        return Child(name=module, command=command, log=self._servers.directory / f"{self._consumer}-{module}.log")

    async def play(self, options: Options) -> Figures:
        """Milliseconds of live events without and during, and seconds that the past took."""
        seconds = max(1.0, SECONDS * options.scale)
        settings = self._servers.settings
        async with (
            await create_pool(settings(Settings, self._publisher), name="bench") as publisher,
            await create_pool(settings(Settings, self._consumer), name="bench") as consumer,
            Writer(publisher, self._servers, seed=7) as writer,
        ):
            await self._has_read_all(consumer)
            self._relay.start()
            self._worker.start()
            await writer.write_at(COMMITS, 1, min(seconds, WARM_SECONDS))
            await self._until_all_came(consumer, writer)
            first = len(writer.written)
            await writer.write_at(COMMITS, 1, seconds)
            await self._until_all_came(consumer, writer)
            second = len(writer.written)
            watch = await self._lacks_all(consumer)
            while not watch.seconds or await consumer.fetchval(_LEFT, LATER):
                await writer.write_at(COMMITS, 1, min(seconds, 1.0))
            took = watch.seconds
            await self._until_all_came(consumer, writer)
            waits = await self._waits(consumer, writer)
            assert await consumer.fetchval("select count(distinct caused_by) = count(*) from later")
        without, during = waits[first:second], waits[second:]
        return {
            "p50 without": _quantile(without, 0.5), "p50 during": _quantile(during, 0.5),
            "p99 without": _quantile(without, 0.99), "p99 during": _quantile(during, 0.99),
            "events/s caught up": options.size(EVENTS) / took,
        }  # fmt: skip

    async def _has_read_all(self, pool: Pool) -> None:
        """As a worker with both handlers leaves it that was at work from the beginning."""
        settings = self._servers.settings(Settings, self._consumer)
        watcher = epoch.EpochWatcher(settings)
        life = await watcher.current()
        await watcher.close()
        it = Handlers("portal", handlers())
        ends = await self._ends(settings)
        async with transaction(pool) as conn:
            await epoch.save_epoch(conn, "consumer", life)
            await history.register_handlers(conn, "portal", it.generation, it.all)
            await conn.executemany(
                "insert into inbox_offsets values ('portal', $1, $2, $3, $4)",
                [(life, place.topic, place.partition, end) for place, end in ends.items()],
            )
            places = [(place.topic, place.partition) for place in ends]
            await history.take_over_partitions(conn, "portal", it.generation, life, it.pairs, places)
            await conn.execute("update handler_catch_up set next_offset = until_offset")

    async def _ends(self, settings: Settings) -> dict[TopicPartition, int]:
        async with AIOKafkaConsumer(**settings.kafka_client(), group_id=None) as client:
            places = [TopicPartition(TOPIC, number) for number in range(6)]
            ends: dict[TopicPartition, int] = await client.end_offsets(places)
            return ends

    async def _lacks_all(self, pool: Pool) -> Stopwatch:
        """From here on the later handler lacks everything; a watch that began when it was first given some of it."""
        everything = "update handler_catch_up set next_offset = 0, ticket = gen_random_uuid() where handler = $1"
        await pool.execute(everything, LATER)
        before = await pool.fetchval(_LEFT, LATER)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await pool.fetchval(_LEFT, LATER) == before:
                self._must_run()
                await asyncio.sleep(0.02)
        return Stopwatch()

    async def _until_all_came(self, pool: Pool, writer: Writer) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await pool.fetchval("select count(*) from live") < len(writer.written):
                self._must_run()
                await asyncio.sleep(0.05)

    async def _waits(self, pool: Pool, writer: Writer) -> list[float]:
        rows = await pool.fetch(
            "select what, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at from live"
        )
        arrived = {row["what"]: row["at"] for row in rows}
        commits = await writer.commit_times()
        return [(arrived[what] - commits[xid]) * 1000 for what, xid in writer.written]

    def _must_run(self) -> None:
        for child in (self._relay, self._worker):
            if not child.running:
                raise RuntimeError(f"{child.name} ended:\n{child.tail(30)}")

    async def end(self) -> None:
        """End the processes and drop the databases."""
        for child in (self._relay, self._worker):
            child.kill()
        for database in (self._publisher, self._consumer):
            await self._servers.drop(database)


def _quantile(waits: list[float], share: float) -> float:
    return sorted(waits)[int(len(waits) * share)]
