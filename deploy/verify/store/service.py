"""What a service says of itself as a whole: what it still has to do, what it passed over, what it told twice."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from deploy.verify.store.tables import Connection

_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a service still has to do, and in which life of the broker its relay and consumer work."""

    unpublished: int
    parked_due: int
    timers_due: int
    relay_epoch: UUID | None
    consumer_epoch: UUID | None


class Republished(NamedTuple):
    """Events of one type told more than once, with the same cause, subject and content."""

    type: str
    too_many: int
    caused_by: list[UUID]


async def backlog(conn: Connection, timers: Collection[str], now: datetime) -> Backlog:
    """What is due by `now`, the deployment's time; of timers, these kinds. A parked record counts a little earlier."""
    row = await conn.fetchrow(
        """
        select (select count(*) from outbox where published_at is null) as unpublished,
               (select count(*) from set_aside where state = 'parked'
                       and retry_at <= $1::timestamptz + interval '5 seconds') as parked_due,
               (select count(*) from timers where due_at <= $1 and kind = any($2::text[])) as timers_due,
               (select epoch from broker_epoch where role = 'relay') as relay_epoch,
               (select epoch from broker_epoch where role = 'consumer') as consumer_epoch
        """,
        now,
        list(timers),
    )
    assert row is not None  # noqa: S101 - a select without from gives one row
    return Backlog(**row)


async def republished(conn: Connection) -> list[Republished]:
    """By type. The content is compared too: a notification may well be deferred twice, each time to another moment."""
    rows = await conn.fetch(
        """
        select type, sum(times - 1)::bigint as too_many, (array_agg(caused_by order by caused_by))[:$1] as caused_by
        from (
            select type, caused_by, count(*) as times from outbox where caused_by is not null
            group by caused_by, type, subject, md5(payload) having count(*) > 1
        ) as again group by type order by type
        """,
        _SAMPLES,
    )
    return [Republished(*row) for row in rows]


async def skipped(conn: Connection, service: str) -> dict[str, int]:
    """Records of types that the service does not take, by type, redeliveries included."""
    rows = await conn.fetch("select type, records from inbox_skipped where consumer = $1 order by type", service)
    return {row["type"]: row["records"] for row in rows}
