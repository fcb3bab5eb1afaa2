"""`relay_steady`: rows are committed at a steady rate; how long until each is on Kafka, and what that costs.

Latency is from the commit, as Postgres remembers it, to the moment when somebody who reads committed records has it.
The cost is the processor time of relay, Postgres and broker together, writing the rows and reading the records
included, which is the same for everybody.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import uvloop
from aiokafka import AIOKafkaProducer

from bench import debezium_peer, facts
from bench.measure import Options, Result
from bench.servers import Servers
from deploy.embedded.process import Child
from shared.events.event import Event
from shared.messaging import outbox
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings

SECONDS, WARM_SECONDS = 10.0, 6.0
WARM_UP = 200_000  # rows before that, as fast as they go: Java takes so many to compile what it runs
COMMITS = 200  # a second, of one row each, or of five
RATES = {200: 1, 1000: 5}
GOAL = 1.0
WARM_REQUESTS = 20_000
_PATIENCE_SECONDS = 120.0
_COPIES = 2000

Figures = dict[str, float]


Publisher = Callable[[str], Child]


def run(servers: Servers, options: Options) -> Result:
    """p50 in milliseconds at 1,000 rows/s; the ratio is Debezium's / ours, or the bare client's where it is missing."""
    missing = debezium_peer.available()
    sides: dict[str, Publisher | None] = {
        "ours": lambda database: _relay(servers, database, "relay"),
        "0.1": lambda database: _relay(servers, database, "relay-0.1"),
        "bare": None,
    }
    if missing is None:
        sides["debezium"] = lambda database: debezium_peer.relay(servers, database)
    return uvloop.run(_run(servers, options, sides, missing))


async def _run(servers: Servers, options: Options, sides: dict[str, Publisher | None], missing: str | None) -> Result:
    template = await servers.template("enrolment")
    await _warm(servers, options.size(WARM_REQUESTS))
    rounds: list[Figures] = []
    names = list(sides)
    for number in range(options.rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        figures: Figures = {}
        for rate in RATES if options.scale == 1 else [1000]:
            for name in turned:
                seconds = max(1.0, SECONDS * options.scale)
                found = await _measure(servers, template, sides[name], rate, seconds, options.size(WARM_UP))
                figures |= {f"{name} {what} at {rate}/s": value for what, value in found.items()}
                print(f"  {name} at {rate}/s: " + ", ".join(f"{what} {found[what]:.1f}" for what in found), flush=True)
        rounds.append(figures)
    await servers.drop(template)
    middle = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    against = "bare" if missing else "debezium"
    ours, limit = middle["ours p50 at 1000/s"], middle[f"{against} p50 at 1000/s"]
    peers = {name: _told(middle, name) for name in names if name != "ours"}
    return Result(
        name="relay_steady", unit=f"ms p50 at 1,000 rows/s; limit: {against}", goal=GOAL if not missing else 0.25,
        ours=ours, limit=limit, rounds=rounds,
        peers=peers | ({"debezium": f"not measured: {missing}"} if missing else {}),
        ratio=statistics.median(each[f"{against} p50 at 1000/s"] / each["ours p50 at 1000/s"] for each in rounds),
        details={"ours": _told(middle, "ours"), "cpu": "seconds per 10,000 rows: relay, Postgres and broker"},
    )  # fmt: skip


async def _warm(servers: Servers, requests: int) -> None:
    """The broker, by small requests: whoever is measured first would pay for what its Java has not compiled yet."""
    event = facts.enrolment_events(1)[0]

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=servers.kafka.bootstrap, enable_idempotence=True, acks="all"
        ) as producer:
            for number in range(requests // 4):
                await producer.send_and_wait(event.topic, event.encode(), str(number).encode())

    await asyncio.gather(*[send() for _ in range(4)])


def _told(middle: Figures, name: str) -> Figures:
    return {what.removeprefix(f"{name} "): value for what, value in middle.items() if what.startswith(f"{name} ")}


def _relay(servers: Servers, database: str, kind: str) -> Child:
    command = [sys.executable, "-m", "bench.steady_process", kind, servers.dsn(database), servers.kafka.bootstrap]
    return Child(name=kind, command=command, log=servers.directory / f"{kind}-{database}.log")


async def _measure(
    servers: Servers, template: str, publisher: Publisher | None, rate: int, seconds: float, warm_up: int
) -> Figures:
    database = await servers.clone(template)
    trial = _Trial(servers, servers.directory / f"{database}.json", publisher(database) if publisher else None)
    try:
        trial.reader.start()
        await _until(trial.came.exists, trial.reader)
        if trial.publisher is not None:
            trial.publisher.start()
        async with (
            await create_pool(servers.settings(Settings, database), name="bench") as pool,
            Writer(pool, servers, bare=publisher is None) as writer,
        ):
            return await trial.play(writer, rate, seconds, warm_up)
    finally:
        trial.end()
        if publisher is not None:
            await servers.execute(debezium_peer.DROP_SLOTS)
        await servers.drop(database)


class _Trial:
    """Who publishes, and who reads."""

    def __init__(self, servers: Servers, came: Path, publisher: Child | None) -> None:
        self.came = came
        self.publisher = publisher
        self._servers = servers
        self._others = 0  # that come too, or never will: beside those that the writer knows of
        topic = facts.enrolment_events(1)[0].topic
        self.reader = Child(
            name="reader", log=came.with_suffix(".log"),
            command=[sys.executable, "-m", "bench.steady_process", "reader", topic, servers.kafka.bootstrap, str(came)],
        )  # fmt: skip

    async def play(self, writer: "Writer", rate: int, seconds: float, warm_up: int) -> Figures:
        """Milliseconds, and processor seconds for 10,000 rows."""
        while not self._came():  # whoever publishes is starting, and Debezium publishes nothing from before it began
            await writer.write_at(10, 1, 0.2)
            _must_run(self.publisher)
        await asyncio.sleep(1)
        self._others = self._came() - len(writer.written)
        if self.publisher is not None:
            await writer.write_copies(warm_up)
            self._others += warm_up
            await self._until_all_came(writer)
            await writer.vacuum()
        await writer.write_at(COMMITS, RATES[rate], min(seconds, WARM_SECONDS))
        await self._until_all_came(writer)
        before, first = self._processor_seconds(), len(writer.written)
        await writer.write_at(COMMITS, RATES[rate], seconds)
        await asyncio.sleep(0.3)
        spent, measured = self._processor_seconds() - before, writer.written[first:]
        await asyncio.to_thread(self.reader.stop, _PATIENCE_SECONDS)
        arrived: dict[str, float] = json.loads(self.came.read_text())
        commits = await writer.commit_times()
        waits = sorted((arrived[what] - commits[xid]) * 1000 for what, xid in measured)
        return {
            "p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)],
            "cpu": spent / len(measured) * 10_000,
        }  # fmt: skip

    async def _until_all_came(self, writer: "Writer") -> None:
        due = len(writer.written) + self._others
        await _until(lambda: self._came() >= due, self.publisher or self.reader)

    def _came(self) -> int:
        return int(self.came.read_text() or 0)

    def end(self) -> None:
        """End both processes."""
        for each in (self.publisher, self.reader):
            if each is not None:
                each.kill()

    def _processor_seconds(self) -> float:
        servers = [self._servers.kafka.child, self._servers.postgres.child]
        return sum(_processor_seconds(each.pid) for each in (*servers, self.publisher) if each is not None)


class Writer:
    """Commits rows at a rate, and remembers what and in which transaction; a bare one sends them itself."""

    def __init__(self, pool: Pool, servers: Servers, *, bare: bool = False, seed: int = 2026) -> None:
        self.written: list[tuple[str, int]] = []
        self._events = iter(facts.enrolment_events(100_000, seed))
        self._pool = pool
        self._bare = bare
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers.kafka.bootstrap, enable_idempotence=True, acks="all"
        )

    async def __aenter__(self) -> "Writer":
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def write_at(self, commits: int, rows: int, seconds: float) -> None:
        """So many transactions a second of so many rows, none waiting for another."""
        began, running = time.perf_counter(), set()
        for nth in range(max(1, int(commits * seconds))):
            await asyncio.sleep(max(0.0, began + nth / commits - time.perf_counter()))
            events = [next(self._events) for _ in range(rows)]
            running.add(task := asyncio.create_task(self._commit(events)))
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _commit(self, events: list[Event]) -> None:
        async with transaction(self._pool) as conn:
            await outbox.add(conn, *events, now=facts.NOW)
            xid = int(await conn.fetchval("select pg_current_xact_id()::text"))
        self.written += [(f"{event.subject} {event.type}", xid) for event in events]
        if self._bare:
            for event in events:
                headers = [("ce_subject", str(event.subject).encode()), ("ce_type", event.type.encode())]
                await self._producer.send(event.topic, event.encode(), event.key.encode(), headers=headers)

    async def write_copies(self, rows: int) -> None:
        """Of the last row, each of another subject, many to a transaction; nobody asks when they came."""
        for first in range(0, rows, _COPIES):
            await self._pool.execute(
                """
                insert into outbox (id, topic, key, subject, type, headers, payload)
                select gen_random_uuid(), topic, key || n, subject || n, type,
                       replace(headers, 'ce_subject: ' || subject, 'ce_subject: ' || subject || n), payload
                from (select * from outbox order by seq desc limit 1) as last, generate_series($1::int, $2) as n
                """,
                first,
                min(first + _COPIES, rows) - 1,
            )

    async def vacuum(self) -> None:
        """As Postgres does by itself within a minute after so many rows."""
        await self._pool.execute("vacuum outbox")

    async def commit_times(self) -> dict[int, float]:
        """When each transaction committed, in seconds."""
        xids = sorted({xid for _, xid in self.written})
        rows = await self._pool.fetch(
            """
            select x, extract(epoch from pg_xact_commit_timestamp(x::text::xid))::float8 as at
            from unnest($1::bigint[]) as x
            """,
            xids,
        )
        return {row["x"]: row["at"] for row in rows}


def _processor_seconds(pid: int) -> float:
    """Of this process and its children, those that have ended included."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            own = child.cpu_times()
            total += own.user + own.system
    return total


def _must_run(child: Child | None) -> None:
    if child is not None and not child.running:
        raise RuntimeError(f"{child.name} ended:\n{child.tail(30)}")


async def _until(condition: Callable[[], bool], child: Child) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():
            _must_run(child)
            await asyncio.sleep(0.02)
