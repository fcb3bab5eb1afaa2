"""Every statement about milestones."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments.domain import Member
from services.enrolment.milestones.domain import MilestoneStatus
from shared.events import Milestone
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


async def plans(conn: Connection, cohort_ids: Collection[UUID]) -> dict[UUID, list[Milestone]]:
    """The milestones of the programme versions that these cohorts run."""
    rows = await conn.fetch(
        """
        select c.id, v.milestones from cohorts c
        join programme_versions v on v.programme_id = c.programme_id and v.version = c.programme_version
        where c.id = any($1::uuid[])
        """,
        list(cohort_ids),
    )
    return {row["id"]: [Milestone.model_validate(milestone) for milestone in row["milestones"]] for row in rows}


Waiting = tuple[datetime, UUID, str]
"""A milestone's place among those that wait: since when, of which enrolment, its key."""


async def reached_under(
    conn: Connection, manager_id: UUID, *, after: Waiting | None, limit: int
) -> Page[tuple[UUID, str]]:
    """Milestones that await this manager's word, the longest waiting first, following `after`: enrolment and key."""
    return await fetch_page(
        conn,
        f"""
        select m.changed_at, m.enrolment_id, m.milestone {_REACHED_UNDER}
          and ($2::timestamptz is null or (m.changed_at, m.enrolment_id, m.milestone) > ($2, $3::uuid, $4::text))
        order by m.changed_at, m.enrolment_id, m.milestone limit $5
        """,
        manager_id,
        *(after or (None, None, None)),
        limit=limit,
        item=lambda row: (row["enrolment_id"], row["milestone"]),
        by=("changed_at", "enrolment_id", "milestone"),
    )


async def count_reached_under(conn: Connection, manager_id: UUID) -> int:
    """How many milestones `reached_under` lists."""
    found: int = await conn.fetchval(f"select count(*) {_REACHED_UNDER}", manager_id)
    return found


_REACHED_UNDER = """
    from people p
    join enrolments e on e.person_id = p.id and e.status in ('active', 'completed')
    join enrolment_milestones m on m.enrolment_id = e.id and m.status = 'reached'
    where p.manager_id = $1
"""


@dataclass(frozen=True, slots=True)
class MilestoneProgress:
    """Where a milestone stands, since when, and whether its co-leader has taken it back before."""

    status: MilestoneStatus
    since: datetime
    was_taken_back: bool


async def progress(conn: Connection, enrolment_ids: Collection[UUID]) -> dict[UUID, dict[str, MilestoneProgress]]:
    """How far these enrolments have come; what is missing is pending."""
    rows = await conn.fetch(
        """
        select enrolment_id, milestone, status, changed_at, taken_back_at is not null as was_taken_back
        from enrolment_milestones where enrolment_id = any($1::uuid[])
        """,
        list(enrolment_ids),
    )
    found: dict[UUID, dict[str, MilestoneProgress]] = {enrolment_id: {} for enrolment_id in enrolment_ids}
    for row in rows:
        standing = MilestoneProgress(MilestoneStatus(row["status"]), row["changed_at"], row["was_taken_back"])
        found[row["enrolment_id"]][row["milestone"]] = standing
    return found


async def put(
    conn: Connection, enrolment_id: UUID, key: str, status: MilestoneStatus, now: datetime, *, taken_back: bool = False
) -> None:
    """Where a milestone stands now, and that its co-leader took it back; the enrolment is locked by the caller."""
    await conn.execute(
        """
        insert into enrolment_milestones as m (enrolment_id, milestone, status, changed_at, taken_back_at)
        values ($1, $2, $3, $4, $5)
        on conflict (enrolment_id, milestone) do update set status = excluded.status, changed_at = excluded.changed_at,
            taken_back_at = coalesce(excluded.taken_back_at, m.taken_back_at)
        """,
        enrolment_id,
        key,
        status,
        now,
        now if taken_back else None,
    )


@dataclass(frozen=True, slots=True)
class Around:
    """How many people at work report to a person, and how many share their manager or unit beside those."""

    reports: int
    colleagues: int


async def around(conn: Connection, member: Member) -> Around:
    """The people around one person, counted."""
    row = await conn.fetchrow(
        """
        select (select count(*) from people where manager_id = $1 and status = 'active') as reports,
               (select count(*) from people
                where (manager_id = $2 or unit_id = $3) and status = 'active' and id <> $1
                  and id is distinct from $2 and manager_id is distinct from $1) as colleagues
        """,
        member.person_id,
        member.manager_id,
        member.unit_id,
    )
    return Around(row["reports"], row["colleagues"]) if row else Around(0, 0)
