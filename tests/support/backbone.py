"""A small deployment for tests: one service that publishes, one that consumes, their workers in this process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from deploy.services import find_service
from shared.events import EnrolmentRequested
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection, Pool, create_pool
from shared.postgres.transaction import transaction
from shared.runtime.worker import Worker
from shared.settings import Settings


@asynccontextmanager
async def running(settings: Settings, service: str, handlers: Sequence[Handler] = ()) -> AsyncIterator[Pool]:
    """A worker in this process, over a pool of its own. Its log keeps clear of what commands under test print."""
    structlog.reset_defaults()  # an earlier test may have left processors that this logger cannot serve
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    pool = await create_pool(settings, name="test")
    worker = asyncio.create_task(
        Worker(settings, pool, service=find_service(service), handlers=handlers, timers={}).run()
    )
    try:
        yield pool
        if worker.done():
            worker.result()
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await pool.close()
        structlog.reset_defaults()


async def until(truth: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(seconds):
        while not await truth():
            await asyncio.sleep(0.05)


def requested() -> EnrolmentRequested:
    """An event like any other, about an enrolment of its own."""
    return EnrolmentRequested(
        enrolment_id=new_id(), person_id=new_id(), cohort_id=new_id(), programme_id=new_id(), unit_id=new_id(),
        approve_before=datetime(2026, 12, 24, tzinfo=UTC),
    )  # fmt: skip


async def publish(pool: Pool, events: Sequence[Any]) -> list[UUID]:
    """Ids of everything in the outbox, these events last."""
    async with transaction(pool) as conn:
        await outbox.add(conn, *events, now=datetime.now(UTC))
        return [row["id"] for row in await conn.fetch("select id from outbox order by seq")]


async def count_effects(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
    """An effect that nothing but the inbox keeps from doubling."""
    await conn.execute("create table if not exists effects (caused_by uuid, subject text, key text, sequence bigint)")
    await conn.executemany(
        "insert into effects values ($1, $2, $3, $4)",
        [(event.id, str(event.data.enrolment_id), event.key, event.sequence) for event in events],
    )
