"""Every statement about enrolments. Locks are taken in one order, cohorts before enrolments, each by id."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.enrolment.enrolments.domain import Enrolment, Member, Status
from shared.events import PersonStatus, Title
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


async def insert(conn: Connection, enrolment: Enrolment) -> bool:
    """Keep a new enrolment; False when the person has an open one in the programme or has completed the cohort."""
    row = await conn.fetchrow(
        """
        insert into enrolments
            (id, person_id, cohort_id, programme_id, status, requested_at, approve_before, changed_at)
        values ($1, $2, $3, $4, $5, $6, $7, $6) on conflict do nothing returning id
        """,
        enrolment.id,
        enrolment.person_id,
        enrolment.cohort_id,
        enrolment.programme_id,
        enrolment.status,
        enrolment.requested_at,
        enrolment.approve_before,
    )
    return row is not None


async def update(conn: Connection, changed: Sequence[Enrolment], now: datetime) -> None:
    """Write status and approval number of enrolments that this transaction has locked."""
    await conn.execute(
        """
        update enrolments e set status = t.status, approval = t.approval, changed_at = $4
        from unnest($1::uuid[], $2::text[], $3::int[]) as t(id, status, approval) where e.id = t.id
        """,
        [enrolment.id for enrolment in changed],
        [enrolment.status for enrolment in changed],
        [enrolment.approval for enrolment in changed],
        now,
    )


async def get(conn: Connection, enrolment_id: UUID) -> Enrolment | None:
    """One enrolment as it is, unlocked: person, cohort and programme never change, the status may at any moment."""
    row = await conn.fetchrow("select * from enrolments where id = $1", enrolment_id)
    return _enrolment(row) if row else None


async def lock(conn: Connection, enrolment_ids: Sequence[UUID]) -> list[Enrolment]:
    """These enrolments, which nobody else changes until this transaction ends; in the order of their ids."""
    rows = await conn.fetch(
        "select * from enrolments where id = any($1::uuid[]) order by id for no key update", enrolment_ids
    )
    return [_enrolment(row) for row in rows]


async def lock_unplaced(conn: Connection, cohort_id: UUID) -> list[Enrolment]:
    """Those of a cohort that were requested or wait, locked."""
    rows = await conn.fetch(
        """
        select * from enrolments where cohort_id = $1 and status in ('requested', 'waitlisted')
        order by id for no key update
        """,
        cohort_id,
    )
    return [_enrolment(row) for row in rows]


async def waiting(conn: Connection, cohort_id: UUID, limit: int) -> list[Enrolment]:
    """Who waits in a cohort the caller has locked, in the order of approval; people who left are passed over."""
    rows = await conn.fetch(
        """
        select e.* from enrolments e join people p on p.id = e.person_id
        where e.cohort_id = $1 and e.status = 'waitlisted' and p.status <> 'inactive'
        order by e.approval limit $2
        """,
        cohort_id,
        limit,
    )
    return [_enrolment(row) for row in rows]


async def open_of(conn: Connection, person_ids: Sequence[UUID]) -> list[Enrolment]:
    """Requested, waiting and active enrolments of these people, unlocked."""
    rows = await conn.fetch(
        """
        select * from enrolments
        where person_id = any($1::uuid[]) and status in ('requested', 'waitlisted', 'active')
        """,
        person_ids,
    )
    return [_enrolment(row) for row in rows]


async def members(conn: Connection, person_ids: Sequence[UUID]) -> dict[UUID, Member]:
    """These people with the unit, manager and status they have now; unknown ones are missing."""
    rows = await conn.fetch(
        """
        select p.id, p.unit_id, p.manager_id, p.status, p.time_zone,
            coalesce(m.status = 'active', false) as manager_is_active
        from people p left join people m on m.id = p.manager_id where p.id = any($1::uuid[])
        """,
        person_ids,
    )
    return {
        row["id"]: Member(
            row["id"],
            row["unit_id"],
            row["manager_id"],
            row["manager_is_active"],
            PersonStatus(row["status"]),
            row["time_zone"],
        )
        for row in rows
    }


async def record_departures(conn: Connection, departures: Sequence[tuple[UUID, UUID, int]], now: datetime) -> None:
    """What each departure did: (event, person, how many enrolments it withdrew)."""
    await conn.execute(
        """
        insert into departures (event_id, person_id, withdrawn, handled_at)
        select event_id, person_id, withdrawn, $4
        from unnest($1::uuid[], $2::uuid[], $3::int[]) as t(event_id, person_id, withdrawn)
        """,
        [event_id for event_id, _, _ in departures],
        [person_id for _, person_id, _ in departures],
        [withdrawn for _, _, withdrawn in departures],
        now,
    )


@dataclass(frozen=True, slots=True)
class ListedEnrolment:
    """An enrolment as it is shown. `position` is its place in the waiting list, from 1; None unless it waits."""

    enrolment: Enrolment
    member: Member
    person_name: str
    cohort_name: str
    programme_title: Title
    changed_at: datetime
    position: int | None


async def shown(conn: Connection, enrolment_ids: Collection[UUID]) -> dict[UUID, ListedEnrolment]:
    """These enrolments as they are shown; unknown ones are missing."""
    rows = await conn.fetch("select * from enrolments_shown where id = any($1::uuid[])", list(enrolment_ids))
    return {row["id"]: _listed(row) for row in rows}


async def of_person(conn: Connection, person_id: UUID, *, after: UUID | None, limit: int) -> Page[ListedEnrolment]:
    """A person's enrolments, the newest first, following `after`."""
    return await fetch_page(
        conn,
        """
        select * from enrolments_shown where person_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3
        """,
        person_id,
        after,
        limit=limit,
        item=_listed,
    )


async def of_cohort(
    conn: Connection,
    cohort_id: UUID,
    *,
    units: Collection[UUID] | None,
    status: Status | None,
    after: UUID | None,
    limit: int,
) -> Page[ListedEnrolment]:
    """A cohort's enrolments, of people in `units` (None: all), in the order they were asked for, following `after`."""
    return await fetch_page(
        conn,
        """
        select * from enrolments_shown
        where cohort_id = $1 and ($2::text is null or status = $2) and ($3::uuid is null or id > $3)
          and ($4::uuid[] is null or unit_id = any($4))
        order by id limit $5
        """,
        cohort_id,
        status,
        after,
        None if units is None else list(units),
        limit=limit,
        item=_listed,
    )


async def to_decide(
    conn: Connection,
    person_id: UUID | None,
    *,
    office_units: Collection[UUID] | None,
    after: UUID | None,
    limit: int,
) -> Page[ListedEnrolment]:
    """Requests this person decides, the oldest first, following `after`: their own people's, and in `office_units`
    (None: everywhere) those of people without an active manager.
    """
    return await fetch_page(
        conn,
        f"select * {_TO_DECIDE} and ($3::uuid is null or id > $3) order by id limit $4",
        person_id,
        None if office_units is None else list(office_units),
        after,
        limit=limit,
        item=_listed,
    )


async def count_to_decide(conn: Connection, person_id: UUID, *, office_units: Collection[UUID] | None) -> int:
    """How many requests `to_decide` lists."""
    units = None if office_units is None else list(office_units)
    found: int = await conn.fetchval(f"select count(*) {_TO_DECIDE}", person_id, units)
    return found


_TO_DECIDE = """
    from enrolments_shown
    where status = 'requested' and person_id is distinct from $1
      and (manager_id = $1 or (not manager_is_active and ($2::uuid[] is null or unit_id = any($2))))
"""


def _listed(row: asyncpg.Record) -> ListedEnrolment:
    return ListedEnrolment(
        enrolment=_enrolment(row),
        member=Member(
            row["person_id"],
            row["unit_id"],
            row["manager_id"],
            row["manager_is_active"],
            PersonStatus(row["person_status"]),
            row["time_zone"],
        ),
        person_name=row["person_name"],
        cohort_name=row["cohort_name"],
        programme_title=Title(**row["programme_title"]),
        changed_at=row["changed_at"],
        position=row["position"],
    )


def _enrolment(row: asyncpg.Record) -> Enrolment:
    return Enrolment(
        id=row["id"],
        person_id=row["person_id"],
        cohort_id=row["cohort_id"],
        programme_id=row["programme_id"],
        status=Status(row["status"]),
        requested_at=row["requested_at"],
        approve_before=row["approve_before"],
        approval=row["approval"],
    )
