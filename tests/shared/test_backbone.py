"""outbox -> relay -> broker -> consumer -> handler -> effect, on the memory broker and on Apache Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from deploy.embedded.process import free_port
from shared import outbox
from shared.db import Connection, Pool, create_pool, transaction
from shared.events import EnrolmentDeclined, EnrolmentRequested
from shared.ids import new_id
from shared.inbox import Handler, Received
from shared.settings import Settings
from shared.worker import Worker
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture(params=["tansu", "apache"])
def backbone(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """Bootstrap address, and whether the broker knows transactions."""
    if request.param == "tansu":
        return request.getfixturevalue("broker"), False
    return request.getfixturevalue("kafka"), True


@asynccontextmanager
async def running(settings: Settings, service: str, handlers: Sequence[Handler] = ()) -> AsyncIterator[Pool]:
    """A worker in this process, over a pool of its own."""
    pool = await create_pool(settings, name="test")
    worker = asyncio.create_task(Worker(settings, pool, service=service, handlers=handlers, timers={}).run())
    try:
        yield pool
        if worker.done():
            worker.result()
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await pool.close()


async def until(truth: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not await truth():
            await asyncio.sleep(0.05)


def requested() -> EnrolmentRequested:
    return EnrolmentRequested(
        enrolment_id=new_id(), person_id=new_id(), cohort_id=new_id(), programme_id=new_id(), unit_id=new_id(),
        approve_before=datetime(2026, 12, 24, tzinfo=UTC),
    )  # fmt: skip


async def publish(pool: Pool, events: Sequence[Any]) -> list[UUID]:
    async with transaction(pool) as conn:
        await outbox.add(conn, *events, now=datetime.now(UTC))
        return [row["id"] for row in await conn.fetch("select id from outbox order by seq")]


async def count_effects(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
    await conn.execute("create table if not exists effects (caused_by uuid, subject text, key text, sequence bigint)")
    await conn.executemany(
        "insert into effects values ($1, $2, $3, $4)",
        [(event.id, str(event.data.enrolment_id), event.key, event.sequence) for event in events],
    )


async def test_an_event_written_in_one_service_has_its_effect_in_another_once(
    backbone: tuple[str, bool], database: Databases
) -> None:
    bootstrap, transactions = backbone
    common = {"kafka_bootstrap": bootstrap, "kafka_transactions": transactions}
    producing = make_settings(Settings, await database("enrolment"), port=free_port(), **common)
    consuming = make_settings(Settings, await database("portal"), port=free_port(), **common)
    handler = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact", effect="effects.caused_by")
    events = [requested() for _ in range(250)]
    unheard = EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))
    async with running(producing, "enrolment") as producer, running(consuming, "portal", [handler]) as consumer:
        ids = await publish(producer, [*events, unheard])

        async def handled() -> bool:
            skipped = await consumer.fetchval("select count(*) from inbox_skipped where type = $1", unheard.type)
            return bool(skipped == 1 and await consumer.fetchval("select count(*) from inbox") >= len(events))

        await until(handled)
        rows = await consumer.fetch("select * from effects")
        assert sorted(row["caused_by"] for row in rows) == sorted(ids[:-1])
        assert {(row["subject"], row["key"]) for row in rows} == {(e.subject, e.subject) for e in events}
        assert {row["sequence"] for row in rows} == {1}
        assert await producer.fetchval("select count(*) from outbox where published_at is null") == 0
        assert await consumer.fetchval("select count(*) from set_aside") == 0
