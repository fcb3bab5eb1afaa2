"""Every SQL statement of the open stream."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.portal.dashboard.domain import Within
from services.portal.stream.domain import StreamEntry, StreamFilter
from shared.postgres.pool import Connection

_ORDER_LOCK = 0x706F7274  # "port"; nothing else in this database takes an advisory lock with this key


class NewEntry(NamedTuple):
    """One event about to get a position; `data` is its JSON text."""

    caused_by: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    unit: UUID | None
    programme: UUID | None
    correlation_id: str
    trace_id: str
    data: str


class Page(NamedTuple):
    """Entries, and the stream's ends at the same moment.

    Events at or before `pruned_to` are gone; `head` is the newest position given out.
    """

    pruned_to: int
    head: int
    entries: list[StreamEntry]


async def append(conn: Connection, entries: Sequence[NewEntry], now: datetime) -> None:
    """Give each entry the next position, once: an event that already has one keeps it.

    The lock is held until commit, so positions become visible in their own order. It is taken by a statement of its
    own: the insert's snapshot must not be older than the lock.
    """
    await conn.execute("select pg_advisory_xact_lock($1)", _ORDER_LOCK)
    await conn.execute(
        """
        insert into stream (caused_by, type, source, subject, time, sequence, unit, programme, correlation_id, trace_id,
                            data, recorded_at)
        select t.caused_by, t.type, t.source, t.subject, t.time, t.sequence, t.unit, t.programme, t.correlation_id,
               t.trace_id, t.data::jsonb, $12
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::uuid[],
                    $8::uuid[], $9::text[], $10::text[], $11::text[])
            with ordinality as t(caused_by, type, source, subject, time, sequence, unit, programme, correlation_id,
                                 trace_id, data, nth)
        order by t.nth
        on conflict (caused_by) do nothing
        """,
        *(list(column) for column in zip(*entries, strict=True)),
        now,
    )


async def read_after(conn: Connection, after: int, limit: int, wanted: StreamFilter) -> Page:
    """The next wanted entries after a position, in order, at most `limit` of them, and the stream's ends as of then."""
    rows = await conn.fetch(_READ_AFTER, after, limit, *_arguments(wanted))
    return Page(rows[0]["pruned_to"], rows[0]["head"], [_entry(row) for row in rows if row["position"] is not None])


async def read_latest(conn: Connection, until: int, limit: int, within: Within) -> list[StreamEntry]:
    """The newest entries at or before a position in a part of the organisation, newest first."""
    rows = await conn.fetch(
        """
        select * from stream_entries
        where position <= $1
            and ($3::uuid[] is null or unit = any($3))
            and ($4::uuid is null or programme = $4)
        order by position desc limit $2
        """,
        until,
        limit,
        None if within.units is None else list(within.units),
        within.programme,
    )
    return [_entry(row) for row in rows]


async def prune(conn: Connection, before: datetime, limit: int) -> int:
    """Drop at most `limit` of the oldest entries recorded before a time; returns how many went.

    Positions leave from the front without a hole, and the window's edge moves in the same transaction.
    """
    await conn.execute("select pg_advisory_xact_lock($1)", _ORDER_LOCK)
    gone: int = await conn.fetchval(
        """
        with old as (
            select position from stream
            where position < coalesce((select min(position) from stream where recorded_at >= $1), 9223372036854775807)
            order by position limit $2
        ), gone as (
            delete from stream s using old where s.position = old.position returning s.position
        ), moved as (
            update stream_window set pruned_to = greatest(pruned_to, (select max(position) from gone))
            where exists (select from gone)
        )
        select count(*) from gone
        """,
        before,
        limit,
    )
    return gone


# One statement, so that what is missing and what is there are seen at the same moment: pruning goes on meanwhile.
_READ_AFTER = """
select w.pruned_to, coalesce((select max(position) from stream), w.pruned_to) as head, e.*
from stream_window w
left join lateral (
    select * from stream_entries
    where position > $1
        and ($3::text[] is null or type = any($3))
        and ($4::uuid[] is null or unit = any($4))
        and ($5::uuid is null or programme = $5)
    order by position limit $2
) e on true
order by e.position
"""


def _arguments(wanted: StreamFilter) -> tuple[list[str] | None, list[UUID] | None, UUID | None]:
    return (
        None if wanted.types is None else sorted(wanted.types),
        None if wanted.within.units is None else list(wanted.within.units),
        wanted.within.programme,
    )


def _entry(row: asyncpg.Record) -> StreamEntry:
    named = {
        "unit": row["unit_name"],
        "programme": row["programme_title"],
        "cohort": row["cohort_name"],
        "milestone": row["milestone_title"],
    }
    return StreamEntry(
        position=row["position"], id=row["caused_by"], type=row["type"], source=row["source"], subject=row["subject"],
        time=row["time"], sequence=row["sequence"], unit=row["unit"], programme=row["programme"],
        correlation_id=row["correlation_id"], trace_id=row["trace_id"], data=row["data"],
        names={what: name for what, name in named.items() if name is not None},
    )  # fmt: skip
