"""Every SQL statement of the dashboard's projection.

An event of the sequence that a row stands on is put again: it changes nothing, and a replay makes the row anew from it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.portal.dashboard.domain import Counts, Within
from shared.postgres.pool import Connection


class EnrolmentRow(NamedTuple):
    id: UUID
    state: str
    sequence: int
    cohort_id: UUID
    programme_id: UUID
    unit_id: UUID
    changed_at: datetime


class MilestoneRow(NamedTuple):
    enrolment_id: UUID
    milestone: str
    state: str
    sequence: int
    practices: str
    """Joined by commas: Postgres has no arrays of arrays of different lengths."""
    programme_id: UUID
    unit_id: UUID
    changed_at: datetime


class RoundRow(NamedTuple):
    id: UUID
    state: str
    sequence: int
    programme_id: UUID
    unit_id: UUID
    changed_at: datetime


class DeliveryRow(NamedTuple):
    id: UUID
    state: str
    sequence: int
    kind: str
    changed_at: datetime


class ProgrammeRow(NamedTuple):
    id: UUID
    sequence: int
    title: dict[str, str]
    milestones: dict[str, dict[str, str]]


class CohortRow(NamedTuple):
    id: UUID
    sequence: int
    name: str
    programme_id: UUID
    state: str


class ProgrammeVersionRow(NamedTuple):
    programme_id: UUID
    version: int
    milestones: dict[str, dict[str, str]]


class CohortVersionRow(NamedTuple):
    cohort_id: UUID
    programme_id: UUID
    version: int


async def put_enrolments(conn: Connection, rows: Sequence[EnrolmentRow]) -> None:
    """Keep the newest state of each enrolment; `rows` holds each id once, as in every function here."""
    await conn.execute(
        """
        insert into enrolments as e (id, state, sequence, cohort_id, programme_id, unit_id, changed_at)
        select *
        from unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::timestamptz[])
            as t(id, state, sequence, cohort_id, programme_id, unit_id, changed_at)
        order by t.id
        on conflict (id) do update set (state, sequence, cohort_id, programme_id, unit_id, changed_at)
            = (excluded.state, excluded.sequence, excluded.cohort_id, excluded.programme_id, excluded.unit_id,
               excluded.changed_at)
        where e.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def put_milestones(conn: Connection, rows: Sequence[MilestoneRow]) -> None:
    await conn.execute(
        """
        insert into milestones as m
            (enrolment_id, milestone, state, sequence, practices, programme_id, unit_id, changed_at)
        select t.enrolment_id, t.milestone, t.state, t.sequence, string_to_array(t.practices, ','), t.programme_id,
               t.unit_id, t.changed_at
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::uuid[], $7::uuid[],
                    $8::timestamptz[])
            as t(enrolment_id, milestone, state, sequence, practices, programme_id, unit_id, changed_at)
        order by t.enrolment_id, t.milestone
        on conflict (enrolment_id, milestone) do update
            set (state, sequence, practices, programme_id, unit_id, changed_at)
            = (excluded.state, excluded.sequence, excluded.practices, excluded.programme_id, excluded.unit_id,
               excluded.changed_at)
        where m.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def put_rounds(conn: Connection, rows: Sequence[RoundRow]) -> None:
    await conn.execute(
        """
        insert into rounds as r (id, state, sequence, programme_id, unit_id, changed_at)
        select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::uuid[], $6::timestamptz[])
            as t(id, state, sequence, programme_id, unit_id, changed_at)
        order by t.id
        on conflict (id) do update set (state, sequence, programme_id, unit_id, changed_at)
            = (excluded.state, excluded.sequence, excluded.programme_id, excluded.unit_id, excluded.changed_at)
        where r.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def put_deliveries(conn: Connection, rows: Sequence[DeliveryRow]) -> None:
    await conn.execute(
        """
        insert into deliveries as d (id, state, sequence, kind, changed_at)
        select * from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
            as t(id, state, sequence, kind, changed_at)
        order by t.id
        on conflict (id) do update set (state, sequence, kind, changed_at)
            = (excluded.state, excluded.sequence, excluded.kind, excluded.changed_at)
        where d.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def put_programmes(conn: Connection, rows: Sequence[ProgrammeRow]) -> None:
    await conn.execute(
        """
        insert into programmes as p (id, sequence, title, milestones)
        select * from unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::jsonb[]) as t(id, sequence, title, milestones)
        order by t.id
        on conflict (id) do update set (sequence, title, milestones)
            = (excluded.sequence, excluded.title, excluded.milestones)
        where p.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def put_programme_versions(conn: Connection, rows: Sequence[ProgrammeVersionRow]) -> None:
    """Keep the milestones of each version: once published it never changes."""
    await conn.execute(
        """
        insert into programme_versions (programme_id, version, milestones)
        select * from unnest($1::uuid[], $2::int[], $3::jsonb[]) order by 1, 2
        on conflict do nothing
        """,
        *_columns(rows),
    )


async def put_cohort_versions(conn: Connection, rows: Sequence[CohortVersionRow]) -> None:
    """Keep which version each cohort runs: it never runs another."""
    await conn.execute(
        """
        insert into cohort_versions (cohort_id, programme_id, version)
        select * from unnest($1::uuid[], $2::uuid[], $3::int[]) order by 1
        on conflict do nothing
        """,
        *_columns(rows),
    )


async def put_cohorts(conn: Connection, rows: Sequence[CohortRow]) -> None:
    await conn.execute(
        """
        insert into cohorts as c (id, sequence, name, programme_id, state)
        select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::uuid[], $5::text[])
            as t(id, sequence, name, programme_id, state)
        order by t.id
        on conflict (id) do update set (sequence, name, programme_id, state)
            = (excluded.sequence, excluded.name, excluded.programme_id, excluded.state)
        where c.sequence <= excluded.sequence
        """,
        *_columns(rows),
    )


async def count(conn: Connection, within: Within) -> Counts:
    """All figures and the stream position they include, as of one moment: one statement sees one snapshot.

    A unit's programmes and cohorts are those that its people take or took part in. Public events about deliveries name
    no unit, so of a part of the organisation none are counted.
    """
    [row] = await conn.fetch(
        """
        with e as (
            select state, count(*) as n from enrolments
            where ($1::uuid[] is null or unit_id = any($1)) and ($2::uuid is null or programme_id = $2) group by state
        ), ms as materialized (
            select state, practices from milestones
            where ($1::uuid[] is null or unit_id = any($1)) and ($2::uuid is null or programme_id = $2)
        ), r as (
            select state, count(*) as n from rounds
            where ($1::uuid[] is null or unit_id = any($1)) and ($2::uuid is null or programme_id = $2) group by state
        ), taken_part as materialized (
            select distinct cohort_id, programme_id from enrolments where unit_id = any($1)
        ), d as (
            select state, count(*) as n from deliveries where $1::uuid[] is null and $2::uuid is null group by state
        ), c as (
            select state, count(*) as n from cohorts
            where ($1::uuid[] is null or id in (select cohort_id from taken_part))
                and ($2::uuid is null or programme_id = $2)
            group by state
        )
        select
            (select jsonb_object_agg(state, n) from e) as enrolments,
            (select jsonb_object_agg(state, n)
             from (select state, count(*) as n from ms group by state) m) as milestones,
            (select jsonb_object_agg(practice, n) from (
                select practice, count(*) as n from ms, unnest(practices) as practice
                where state in ('reached', 'attested') group by practice) p) as practices,
            (select jsonb_object_agg(state, n) from r) as rounds,
            (select jsonb_object_agg(state, n) from d) as deliveries,
            (select jsonb_object_agg(state, n) from c) as cohorts,
            (select count(*) from programmes
             where ($1::uuid[] is null or id in (select programme_id from taken_part))
                and ($2::uuid is null or id = $2)) as programmes,
            greatest((select max(position) from stream), (select pruned_to from stream_window)) as position,
            (select time from stream order by position desc limit 1) as newest_at
        """,
        None if within.units is None else list(within.units),
        within.programme,
    )
    return Counts(**{name: {} if value is None and name not in _SCALARS else value for name, value in row.items()})


_SCALARS = ("programmes", "position", "newest_at")


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as the column arrays that unnest takes."""
    return [list(column) for column in zip(*rows, strict=True)]
