"""Every statement about milestones."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from services.enrolment.milestones.domain import MilestoneStatus
from shared.db import Connection
from shared.events import Milestone
from shared.paging import Page, fetch_page


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


async def progress(conn: Connection, enrolment_ids: Collection[UUID]) -> dict[UUID, dict[str, MilestoneStatus]]:
    """How far these enrolments have come; what is missing is pending."""
    rows = await conn.fetch(
        "select enrolment_id, milestone, status from enrolment_milestones where enrolment_id = any($1::uuid[])",
        list(enrolment_ids),
    )
    found: dict[UUID, dict[str, MilestoneStatus]] = {enrolment_id: {} for enrolment_id in enrolment_ids}
    for row in rows:
        found[row["enrolment_id"]][row["milestone"]] = MilestoneStatus(row["status"])
    return found


async def put(conn: Connection, enrolment_id: UUID, key: str, status: MilestoneStatus, now: datetime) -> None:
    """Where a milestone stands now; the enrolment is locked by the caller."""
    await conn.execute(
        """
        insert into enrolment_milestones (enrolment_id, milestone, status, changed_at) values ($1, $2, $3, $4)
        on conflict (enrolment_id, milestone) do update set status = excluded.status, changed_at = excluded.changed_at
        """,
        enrolment_id,
        key,
        status,
        now,
    )
