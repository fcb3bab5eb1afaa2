"""Every SQL statement of the open stream."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.portal.stream.domain import Entry, Wanted
from shared.db import Connection

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


class Bounds(NamedTuple):
    """The stream's ends: events at or before `pruned_to` are gone, `head` is the newest position given out."""

    pruned_to: int
    head: int


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


async def bounds(conn: Connection) -> Bounds:
    row = await conn.fetchrow(
        """
        select w.pruned_to, coalesce((select max(position) from stream), w.pruned_to) as head from stream_window w
        """
    )
    assert row is not None  # the migration put it there  # noqa: S101
    return Bounds(row["pruned_to"], row["head"])


async def read_after(conn: Connection, after: int, limit: int, wanted: Wanted, until: int | None = None) -> list[Entry]:
    """The next wanted entries after a position, in order, at most `limit` of them and none beyond `until`."""
    rows = await conn.fetch(_READ_AFTER, after, limit, *_arguments(wanted), until)
    return [_entry(row) for row in rows]


async def read_latest(conn: Connection, until: int, limit: int) -> list[Entry]:
    """The newest entries at or before a position, newest first."""
    rows = await conn.fetch(_READ + "where s.position <= $1 order by s.position desc limit $2", until, limit)
    return [_entry(row) for row in rows]


async def subtree(conn: Connection, roots: Sequence[UUID]) -> frozenset[UUID]:
    """These units and everything below them, units merged into one of them included."""
    rows = await conn.fetch(
        """
        with recursive tree(id) as (
            select unnest($1::uuid[])
            union
            select u.id from units u join tree t on u.parent_id = t.id or u.merged_into = t.id
        )
        select id from tree
        """,
        list(roots),
    )
    return frozenset(row["id"] for row in rows)


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


_READ = """
select s.position, s.caused_by, s.type, s.source, s.subject, s.time, s.sequence, s.unit, s.programme, s.correlation_id,
       s.trace_id, s.data, u.name as unit_name, p.title as programme_title, c.name as cohort_name,
       p.milestones->(s.data->>'milestone') as milestone_title
from stream s
left join units u on u.id = s.unit
left join programmes p on p.id = s.programme
left join cohorts c on c.id = (s.data->>'cohort_id')::uuid
"""

_READ_AFTER = (
    _READ
    + """
where s.position > $1
and ($3::text[] is null or s.type = any($3))
and ($4::uuid[] is null or s.unit = any($4))
and ($5::uuid is null or s.programme = $5)
and ($6::bigint is null or s.position <= $6)
order by s.position limit $2
"""
)


def _arguments(wanted: Wanted) -> tuple[list[str] | None, list[UUID] | None, UUID | None]:
    return (
        None if wanted.types is None else sorted(wanted.types),
        None if wanted.within.units is None else list(wanted.within.units),
        wanted.within.programme,
    )


def _entry(row: asyncpg.Record) -> Entry:
    named = {
        "unit": row["unit_name"],
        "programme": row["programme_title"],
        "cohort": row["cohort_name"],
        "milestone": row["milestone_title"],
    }
    return Entry(
        position=row["position"], id=row["caused_by"], type=row["type"], source=row["source"], subject=row["subject"],
        time=row["time"], sequence=row["sequence"], unit=row["unit"], programme=row["programme"],
        correlation_id=row["correlation_id"], trace_id=row["trace_id"], data=row["data"],
        names={what: name for what, name in named.items() if name is not None},
    )  # fmt: skip
