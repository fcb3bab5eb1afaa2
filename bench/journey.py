"""`journey`: from an HTTP request to its effect in two other services, at half of what the house can take.

The limit is the same way by bare drivers in one process: commit, produce, fetch, commit in two databases. The moment of
an effect is its transaction's commit timestamp in Postgres, so that nothing has to watch for it while it is measured.
"""

import asyncio
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Set
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.measure import Options, Result, Stopwatch, in_turn, median_ratio
from bench.organisation import Wish, found
from bench.servers import Servers
from deploy.embedded.process import free_port
from deploy.local import Options as StackOptions
from deploy.local import running
from deploy.stack import Stack
from shared.events import EnrolmentRequested
from shared.ids import new_id

REQUESTS, PROBE = 400, 300
GOAL_P50, GOAL_P99 = 1 / 2, 1 / 3
TOPIC = "medled.portal.dead-letters.v1"  # for the bare way: nobody else writes or reads it here
HANDLERS = {"notifications": "notifications.routing.queue_mail", "portal": "portal.dashboard.enrolments"}
_EFFECTS = "select event_id, pg_xact_commit_timestamp(xmin) as at from inbox where handler = $1"
_BARE_EFFECTS = "select id, pg_xact_commit_timestamp(xmin) as at from effects"

Begin = Callable[[Any], Awaitable[UUID]]
Latencies = list[float]


def run(servers: Servers, options: Options) -> Result:
    """Latencies in milliseconds, request sent to the later of both effects committed; ratios are limit / ours."""
    stacked = StackOptions(
        data=servers.directory / "stack", port=free_port(), broker=servers.kafka.bootstrap,
        database=servers.postgres.dsn(),
    )  # fmt: skip
    with running(stacked, lambda _: None) as (stack, _):
        return uvloop.run(_run(servers, stack, options))


async def _run(servers: Servers, stack: Stack, options: Options) -> Result:
    async with AsyncExitStack() as cleanup:
        ours = await cleanup.enter_async_context(_House(stack, await found(stack)))
        limit = await cleanup.enter_async_context(_Bare(servers))
        await ours.flat_out(options.size(PROBE))  # warm
        rate = max(2.0, await ours.flat_out(options.size(PROBE)) / 2)
        print(f"  half of capacity: {rate:.0f} requests/s", flush=True)
        taken: dict[str, list[Latencies]] = {"ours": [], "limit": []}

        async def measured(name: str, side: "_House | _Bare") -> float:
            taken[name].append(await side.at_rate(rate, options.size(REQUESTS)))
            return _quantile(taken[name][-1], 50)

        rounds = await in_turn(
            {"ours": lambda: measured("ours", ours), "limit": lambda: measured("limit", limit)}, options
        )
    for each, mine, bare in zip(rounds, taken["ours"][1:], taken["limit"][1:], strict=True):  # the first only warmed
        each |= {"ours_p99": _quantile(mine, 99), "limit_p99": _quantile(bare, 99)}
    return Result(
        name="journey", unit="ms (p50)", goal=GOAL_P50,
        ours=statistics.median(each["ours"] for each in rounds),
        limit=statistics.median(each["limit"] for each in rounds),
        ratio=median_ratio(rounds, "limit", "ours"), rounds=rounds,
        details={
            "p99_ours": statistics.median(each["ours_p99"] for each in rounds),
            "p99_limit": statistics.median(each["limit_p99"] for each in rounds),
            "p99_ratio": median_ratio(rounds, "limit_p99", "ours_p99"), "p99_goal": GOAL_P99,
            "requests_per_second": rate, "requests_per_round": options.size(REQUESTS),
        },
    )  # fmt: skip


class _Side(ABC):
    """Sends requests at a rate whatever becomes of them, then asks the databases when each had its effects."""

    @abstractmethod
    async def begin(self) -> UUID:
        """Make one request; gives what its effects are found by."""

    @abstractmethod
    async def effects(self) -> dict[UUID, float]:
        """When the later of both effects was committed, in seconds since 1970."""

    async def at_rate(self, rate: float, number: int) -> Latencies:
        """Milliseconds from sending to the later effect, for each request."""
        began: dict[UUID, float] = {}

        async def one() -> None:
            now = time.time()
            began[await self.begin()] = now

        async with asyncio.TaskGroup() as group:
            start = time.perf_counter()
            for nth in range(number):
                await asyncio.sleep(max(0.0, start + nth / rate - time.perf_counter()))
                group.create_task(one())
        done = await self.until_done(began.keys())
        return [(done[each] - moment) * 1000 for each, moment in began.items()]

    async def until_done(self, began: Set[UUID]) -> dict[UUID, float]:
        """Wait for the effects of all of these; gives `effects` then."""
        async with asyncio.timeout(60):
            while not began <= (done := await self.effects()).keys():
                await asyncio.sleep(0.2)
        return done


class _House(_Side):
    """All of Medled's processes; a person asks for a place in a cohort."""

    def __init__(self, stack: Stack, wishes: Iterator[Wish]) -> None:
        self._stack = stack
        self._wishes = wishes
        self._databases: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    async def __aenter__(self) -> "_House":
        api = f"http://127.0.0.1:{self._stack.ports['enrolment'].api}"
        self._client = httpx.AsyncClient(
            base_url=api, headers={"sec-fetch-site": "same-origin"}, timeout=60, trust_env=False
        )
        for service in ("enrolment", *HANDLERS):
            self._databases[service] = await asyncpg.connect(self._stack.databases[service])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        for conn in self._databases.values():
            await conn.close()

    async def begin(self) -> UUID:
        wish = next(self._wishes)
        cookie = "; ".join(f"{name}={value}" for name, value in wish.cookies.items())
        answer = await self._client.post("/enrolment/v1/enrolments", json=wish.body, headers={"cookie": cookie})
        answer.raise_for_status()
        return UUID(answer.json()["id"])

    async def effects(self) -> dict[UUID, float]:
        rows = await self._databases["enrolment"].fetch(
            "select id, subject from outbox where type = $1", EnrolmentRequested.type
        )
        moments = [
            {row["event_id"]: row["at"] for row in await self._databases[service].fetch(_EFFECTS, handler)}
            for service, handler in HANDLERS.items()
        ]
        return {
            UUID(row["subject"]): max(moment[row["id"]] for moment in moments).timestamp()
            for row in rows
            if all(row["id"] in moment for moment in moments)
        }

    async def flat_out(self, number: int) -> float:
        """Journeys per second when sixteen people ask without pause: until the last one's effects are there."""
        began: set[UUID] = set()
        wishes = iter(range(number))

        async def person() -> None:
            for _ in wishes:
                began.add(await self.begin())

        watch = Stopwatch()
        await asyncio.gather(*[person() for _ in islice(range(16), number)])
        await self.until_done(began)
        return number / watch.seconds


class _Bare(_Side):
    """The same steps by asyncpg and aiokafka, without anything around them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._pools: list[asyncpg.Pool[asyncpg.Record]] = []
        self._clients: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "_Bare":
        for nth in range(3):
            name = f"bench_bare_{nth}"
            await self._servers.execute(f"create database {name}")
            pool = await asyncpg.create_pool(self._servers.dsn(name), min_size=2)
            await pool.execute("create table effects (id uuid primary key, payload jsonb not null)")
            self._pools.append(pool)
        bootstrap = self._servers.kafka.bootstrap
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
        await self._producer.start()
        for pool in self._pools[1:]:
            client = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
            await client.start()
            client.assign([TopicPartition(TOPIC, number) for number in range(6)])
            await client.seek_to_end()
            self._clients.append(client)
            self._tasks.append(asyncio.create_task(self._consume(client, pool)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (*self._clients, self._producer):
            await client.stop()
        for pool in self._pools:
            await pool.close()

    async def begin(self) -> UUID:
        id_, payload = new_id(), '{"enrolment_id": "0", "person_id": "0", "cohort_id": "0", "unit_id": "0"}'
        await self._pools[0].execute("insert into effects values ($1, $2)", id_, payload)
        await self._producer.send_and_wait(TOPIC, payload.encode(), key=str(id_).encode())
        return id_

    async def _consume(self, client: AIOKafkaConsumer, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        while True:
            fetched = await client.getmany(timeout_ms=1000)
            records = [record for batch in fetched.values() for record in batch]
            if records:
                await pool.execute(
                    "insert into effects select * from unnest($1::uuid[], $2::jsonb[])",
                    [record.key.decode() for record in records],
                    [record.value.decode() for record in records],
                )

    async def effects(self) -> dict[UUID, float]:
        moments: list[dict[UUID, datetime]] = [
            {row["id"]: row["at"] for row in await pool.fetch(_BARE_EFFECTS)} for pool in self._pools[1:]
        ]
        return {id_: max(at, moments[1][id_]).timestamp() for id_, at in moments[0].items() if id_ in moments[1]}


def _quantile(latencies: Latencies, percent: int) -> float:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
