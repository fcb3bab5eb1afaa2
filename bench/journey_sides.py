"""The sides of `journey`: the whole house and bare drivers. The idiomatic peer, which need not be there, is next door.

What a side costs is what its processes cost, and the broker and the Postgres that it stands on.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Self
from uuid import UUID

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.measure import processor_seconds
from bench.organisation import Wish
from bench.servers import Servers
from deploy.stack import Stack
from shared.events import EnrolmentRequested
from shared.ids import new_id

TOPIC = "medled.portal.dead-letters.v1"  # for the bare way: nobody else writes or reads it here
HANDLERS = {"notifications": "notifications.routing.queue_mail", "portal": "portal.dashboard.enrolments"}
PEOPLE = 16  # who ask without pause
SETTLE_SECONDS = 0.5  # after the last request, before anybody asks what became of it
_EFFECTS = """
    select event_id as id, pg_xact_commit_timestamp(xmin) as at from inbox
    where handler = $2 and pg_xact_commit_timestamp(xmin) >= $1
"""
ROWS = "select id, pg_xact_commit_timestamp(xmin) as at from effects where pg_xact_commit_timestamp(xmin) >= $1"

Moments = dict[UUID, datetime]


@dataclass(frozen=True, slots=True)
class Trial:
    """What requests at one rate gave: milliseconds of each, and processor milliseconds a request, by process."""

    latencies: list[float]
    cost: Mapping[str, float]

    def quantile(self, percent: int) -> float:
        """The latency that so many in a hundred stay below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def cpu(self) -> float:
        """Of all processes together."""
        return sum(self.cost.values())


class Side(ABC):
    """Sends requests, then asks the databases when each had its effects."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.cleanup = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.cleanup.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cleanup.aclose()

    @abstractmethod
    async def start(self) -> None:
        """Be ready for requests; what is to be ended goes into `cleanup`."""

    @abstractmethod
    async def begin(self) -> UUID:
        """Make one request; gives what its effects are found by."""

    @abstractmethod
    async def moments(self, since: datetime) -> list[Moments]:
        """When each effect since then was committed, for either of the two databases."""

    @property
    @abstractmethod
    def processes(self) -> Mapping[str, int]:
        """Its process ids by what they are, without the servers'."""

    async def at_rate(self, rate: float, number: int) -> Trial:
        """So many requests a second, whatever becomes of them."""
        began: dict[UUID, float] = {}

        async def one() -> None:
            now = time.time()
            began[await self.begin()] = now

        since, before = datetime.now(UTC), self._spent()
        async with asyncio.TaskGroup() as group:
            start = time.perf_counter()
            for nth in range(number):
                await asyncio.sleep(max(0.0, start + nth / rate - time.perf_counter()))
                group.create_task(one())
        await asyncio.sleep(SETTLE_SECONDS)
        after = self._spent()
        done = await self._until_done(began.keys(), since)
        return Trial(
            [(done[each] - moment) * 1000 for each, moment in began.items()],
            {name: (after[name] - before[name]) * 1000 / number for name in after},
        )

    async def flat_out(self, number: int) -> float:
        """Journeys a second when people ask without pause: until the last one's effects are there."""
        began: set[UUID] = set()
        wishes = iter(range(number))

        async def person() -> None:
            for _ in wishes:
                began.add(await self.begin())

        since, start = datetime.now(UTC), time.time()
        await asyncio.gather(*[person() for _ in islice(range(PEOPLE), number)])
        done = await self._until_done(began, since)
        return number / (max(done[each] for each in began) - start)

    async def _until_done(self, began: Set[UUID], since: datetime) -> dict[UUID, float]:
        """Wait for the effects of all of these; gives the moment of the later one, in seconds since 1970."""
        async with asyncio.timeout(120):
            while True:
                first, second = await self.moments(since)
                if began <= (first.keys() & second.keys()):
                    return {each: max(first[each], second[each]).timestamp() for each in began}
                await asyncio.sleep(0.3)

    def _spent(self) -> dict[str, float]:
        servers = {"broker": self.servers.kafka.child.pid, "postgres": self.servers.postgres.child.pid}
        return {name: processor_seconds(pid) for name, pid in {**servers, **self.processes}.items()}


class House(Side):
    """All of Medled's processes; a person asks for a place in a cohort."""

    def __init__(self, servers: Servers, stack: Stack, wishes: Iterator[Wish]) -> None:
        super().__init__(servers)
        self._stack = stack
        self._wishes = wishes
        self._databases: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    @property
    def processes(self) -> Mapping[str, int]:
        return self._stack.pids

    async def start(self) -> None:
        api = f"http://127.0.0.1:{self._stack.ports['enrolment'].api}"
        self._client = httpx.AsyncClient(
            base_url=api, headers={"sec-fetch-site": "same-origin"}, timeout=60, trust_env=False
        )
        self.cleanup.push_async_callback(self._client.aclose)
        for service in ("enrolment", *HANDLERS):
            conn = await asyncpg.connect(self._stack.databases[service])
            self.cleanup.push_async_callback(conn.close)
            self._databases[service] = conn

    async def begin(self) -> UUID:
        wish = next(self._wishes)
        cookie = "; ".join(f"{name}={value}" for name, value in wish.cookies.items())
        answer = await self._client.post("/enrolment/v1/enrolments", json=wish.body, headers={"cookie": cookie})
        answer.raise_for_status()
        return UUID(answer.json()["id"])

    async def moments(self, since: datetime) -> list[Moments]:
        rows = await self._databases["enrolment"].fetch(
            "select id, subject from outbox where type = $2 and created_at >= $1", since, EnrolmentRequested.type
        )
        subjects = {row["id"]: UUID(row["subject"]) for row in rows}
        return [
            {
                subjects[row["id"]]: row["at"]
                for row in await self._databases[service].fetch(_EFFECTS, since, handler)
                if row["id"] in subjects
            }
            for service, handler in HANDLERS.items()
        ]


class Bare(Side):
    """The same steps by asyncpg and aiokafka in this process, without anything around them."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self._pools: list[asyncpg.Pool[asyncpg.Record]] = []

    @property
    def processes(self) -> Mapping[str, int]:
        return {"client": os.getpid()}

    async def start(self) -> None:
        for nth in range(3):
            name = f"bench_bare_{nth}"
            await self.servers.execute(f"create database {name}")
            pool = await asyncpg.create_pool(self.servers.dsn(name), min_size=2)
            self.cleanup.push_async_callback(pool.close)
            await pool.execute("create table effects (id uuid primary key, payload jsonb not null)")
            self._pools.append(pool)
        bootstrap = self.servers.kafka.bootstrap
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
        await self._producer.start()
        self.cleanup.push_async_callback(self._producer.stop)
        for pool in self._pools[1:]:
            client = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
            await client.start()
            self.cleanup.push_async_callback(client.stop)
            client.assign([TopicPartition(TOPIC, number) for number in range(6)])
            await client.seek_to_end()
            consuming = asyncio.create_task(self._consume(client, pool))
            self.cleanup.push_async_callback(_end, consuming)

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

    async def moments(self, since: datetime) -> list[Moments]:
        return [{row["id"]: row["at"] for row in await pool.fetch(ROWS, since)} for pool in self._pools[1:]]


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
