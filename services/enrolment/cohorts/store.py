"""Every statement about cohorts. Whoever gives or frees a place holds the cohort's row lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg

from services.enrolment.cohorts.domain import Cohort, CohortStatus, Places
from shared.directory.unit_tree import above
from shared.events import Title
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class ListedCohort:
    """A cohort as it is shown: with its programme's title and how many stand where in it."""

    cohort: Cohort
    programme_title: Title
    requested: int
    waitlisted: int
    active: int
    completed: int

    @property
    def taken(self) -> int:
        """Places that are taken: finishing frees none."""
        return self.active + self.completed


async def insert(conn: Connection, cohort: Cohort, now: datetime) -> None:
    """Keep a new cohort."""
    await conn.execute(
        """
        insert into cohorts (id, programme_id, programme_version, name, capacity, unit_id, starts_on, ends_on, status,
                             created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        cohort.id,
        cohort.programme_id,
        cohort.programme_version,
        cohort.name,
        cohort.capacity,
        cohort.unit_id,
        cohort.starts_on,
        cohort.ends_on,
        cohort.status,
        now,
    )


async def update(conn: Connection, cohort: Cohort) -> None:
    """Write what may change: status and capacity."""
    await conn.execute(
        "update cohorts set status = $2, capacity = $3 where id = $1", cohort.id, cohort.status, cohort.capacity
    )


async def lock(conn: Connection, cohort_ids: Sequence[UUID]) -> dict[UUID, Cohort]:
    """These cohorts, whose places nobody else gives or frees until this transaction ends; in one order."""
    rows = await conn.fetch(
        "select * from cohorts where id = any($1::uuid[]) order by id for no key update", cohort_ids
    )
    return {row["id"]: _cohort(row) for row in rows}


async def share(conn: Connection, cohort_id: UUID) -> Cohort | None:
    """One cohort, which stays in its state until this transaction ends."""
    row = await conn.fetchrow("select * from cohorts where id = $1 for share", cohort_id)
    return _cohort(row) if row else None


async def places(conn: Connection, cohort_ids: Sequence[UUID]) -> dict[UUID, Places]:
    """How the places stand. To decide by it, lock first, in a statement of its own: this one sees what others did."""
    rows = await conn.fetch(
        """
        select c.id, c.capacity, c.approvals,
               (select count(*) from enrolments e where e.cohort_id = c.id and e.status in ('active', 'completed'))
                   as taken,
               (select count(*) from enrolments e where e.cohort_id = c.id and e.status = 'waitlisted') as waiting
        from cohorts c where c.id = any($1::uuid[])
        """,
        cohort_ids,
    )
    return {row["id"]: Places(row["capacity"], row["taken"], row["waiting"], row["approvals"]) for row in rows}


async def count_approval(conn: Connection, cohort_id: UUID) -> None:
    """One approval more, under the cohort's lock."""
    await conn.execute("update cohorts set approvals = approvals + 1 where id = $1", cohort_id)


async def unit_exists(conn: Connection, unit_id: UUID) -> bool:
    """Whether the unit is known."""
    return bool(await conn.fetchval("select exists (select from units where id = $1)", unit_id))


async def units_to_choose(
    conn: Connection, *, within: Collection[UUID] | None, sought: str, chosen: UUID | None, limit: int
) -> tuple[list[tuple[UUID, str]], int]:
    """Units with their paths from the top, in the order of these, and how many there would be without a limit.

    They are those whose path holds `sought`, and the chosen one, which no limit cuts off: a form that lost it would
    choose something else. within: the ids among which they lie; None: all units.
    """
    rows = await conn.fetch(
        """
        with recursive tree(id, path, is_gone) as (
            select id, name, merged_into is not null from units where parent_id is null
            union all
            select u.id, tree.path || ' - ' || u.name, u.merged_into is not null
            from tree join units u on u.parent_id = tree.id
        )
        select id, path, found from (
            select id, path, count(*) over () as found from tree
            where not is_gone and ($1::uuid[] is null or id = any($1))
              and (strpos(lower(path), lower($2)) > 0 or id = $3)
            order by id is distinct from $3, path, id limit $4
        ) offered order by path, id
        """,
        None if within is None else list(within),
        sought,
        chosen,
        limit,
    )
    return [(row["id"], row["path"]) for row in rows], rows[0]["found"] if rows else 0


async def get(conn: Connection, cohort_id: UUID) -> ListedCohort | None:
    """One cohort as it is shown."""
    row = await conn.fetchrow("select * from cohorts_shown where id = $1", cohort_id)
    return _listed(row) if row else None


async def page(
    conn: Connection, *, status: str | None, programme_id: UUID | None, after: UUID | None, limit: int
) -> Page[ListedCohort]:
    """Cohorts in the order they were made, following `after`; `status` is one that is stored."""
    return await fetch_page(
        conn,
        """
        select * from cohorts_shown
        where ($1::text is null or status = $1) and ($2::uuid is null or programme_id = $2)
          and ($3::uuid is null or id > $3)
        order by id limit $4
        """,
        status,
        programme_id,
        after,
        limit=limit,
        item=_listed,
    )


async def of_programmes(conn: Connection, programme_ids: Sequence[UUID]) -> list[ListedCohort]:
    """The cohorts of these programmes, the last to start first."""
    rows = await conn.fetch(
        "select * from cohorts_shown where programme_id = any($1::uuid[]) order by starts_on desc, id desc",
        programme_ids,
    )
    return [_listed(row) for row in rows]


async def open_to(
    conn: Connection, person_id: UUID, *, after: tuple[date, UUID] | None, limit: int
) -> Page[ListedCohort]:
    """Open cohorts in which this person could ask for a place, the first to start first, following `after`."""
    return await fetch_page(
        conn,
        f"""
        with recursive {above("select unit_id from people where id = $1")}
        select * from cohorts_shown c
        where status = 'open' and (unit_id is null or unit_id in (select id from above))
          and not exists (
              select from enrolments e where e.person_id = $1
              and (e.cohort_id = c.id and e.status = 'completed'
                   or e.programme_id = c.programme_id and e.status in ('requested', 'waitlisted', 'active')))
          and ($2::date is null or (starts_on, id) > ($2, $3::uuid))
        order by starts_on, id limit $4
        """,  # noqa: S608 - constants of ours
        person_id,
        *(after or (None, None)),
        limit=limit,
        item=_listed,
        by=("starts_on", "id"),
    )


def _listed(row: asyncpg.Record) -> ListedCohort:
    return ListedCohort(
        cohort=_cohort(row),
        programme_title=Title(**row["programme_title"]),
        requested=row["requested"],
        waitlisted=row["waitlisted"],
        active=row["active"],
        completed=row["completed"],
    )


def _cohort(row: asyncpg.Record) -> Cohort:
    return Cohort(
        id=row["id"],
        programme_id=row["programme_id"],
        programme_version=row["programme_version"],
        name=row["name"],
        capacity=row["capacity"],
        unit_id=row["unit_id"],
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        status=CohortStatus(row["status"]),
    )
