"""A consumer to hand records to, handlers that leave rows, and a clock that the test turns."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.clock import Clock
from shared.events import EnrolmentRequested, UnitState
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler, Parked, Received, Record
from shared.postgres.pool import Connection, Pool
from tests.support.backbone import requested

UNLUCKY = UUID(int=13)


class Hands(Clock):
    """A clock that the test turns."""

    def __init__(self) -> None:
        super().__init__(None)
        self.moment = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


def consumer(pool: Pool, clock: Clock, *handlers: Handler) -> Consumer:
    return Consumer(pool, clock, service="portal", handlers=handlers, park_timeout=timedelta(hours=1))


def counting(name: str = "test.count", *, fails: bool = False) -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
        await conn.executemany(
            "insert into effects values ($1, $2, $3, $4)", [(name, e.id, e.subject, e.sequence) for e in events]
        )
        if fails and any(event.data.cohort_id == UNLUCKY for event in events):
            raise ValueError("an unlucky cohort")

    return Handler(name, (EnrolmentRequested,), apply, "every_fact", effect="effects.caused_by")


def unlucky() -> EnrolmentRequested:
    return requested().model_copy(update={"cohort_id": UNLUCKY})


async def effects(pool: Pool, handler: str = "test.count") -> list[str]:
    rows = await pool.fetch("select subject from effects where handler = $1 order by subject", handler)
    return [row["subject"] for row in rows]


async def replay(pool: Pool, clock: Hands) -> None:
    """Put every dead letter back to be tried, as an operator does."""
    await pool.execute("update set_aside set state = 'parked', retry_at = $1, expires_at = $1", clock.now())


def subjects(*records: Any) -> list[str]:
    return sorted(dict(record.headers)["ce_subject"].decode() for record in records)


def padded(record: Record, size: int) -> Record:
    """The same event in so many bytes: fields that a consumer does not know are ignored."""
    value = record.value or b""
    room = size - len(value) - len(b',"more":""')
    return replace(record, value=value[:-1] + b',"more":"' + b"x" * room + b'"}')


def keeping(applied: list[int]) -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[UnitState]], now: datetime) -> None:
        applied.extend(event.sequence for event in events)

    return Handler("test.keep", (UnitState,), apply, "latest_state")


async def reasons(pool: Pool) -> list[tuple[str, str | None]]:
    rows = await pool.fetch("select reason, handler from set_aside where state = 'dead' order by set_aside_at, id")
    return [(row["reason"], row["handler"]) for row in rows]


def waiting(known: set[str]) -> Handler:
    async def apply(
        conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime
    ) -> Sequence[Parked]:
        await counting().apply(conn, [event for event in events if str(event.data.cohort_id) in known], now)
        return [Parked(e.id, f"cohort {e.data.cohort_id}") for e in events if str(e.data.cohort_id) not in known]

    return Handler("test.count", (EnrolmentRequested,), apply, "every_fact")


def slow_with_the_unlucky() -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        if any(event.data.cohort_id == UNLUCKY for event in events):
            await conn.execute("select pg_sleep(5)", timeout=0.02)
        await counting().apply(conn, events, now)

    return Handler("test.slow", (EnrolmentRequested,), apply, "every_fact")
