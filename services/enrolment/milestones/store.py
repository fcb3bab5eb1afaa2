"""Every statement about milestones."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.milestones.domain import MilestoneStatus
from shared.db import Connection
from shared.events import Milestone


async def plan(conn: Connection, cohort_id: UUID) -> list[Milestone]:
    """The milestones of the programme version that a cohort runs."""
    milestones = await conn.fetchval(
        """
        select v.milestones from cohorts c
        join programme_versions v on v.programme_id = c.programme_id and v.version = c.programme_version
        where c.id = $1
        """,
        cohort_id,
    )
    return [Milestone.model_validate(milestone) for milestone in milestones or []]


async def progress(conn: Connection, enrolment_ids: Sequence[UUID]) -> dict[UUID, dict[str, MilestoneStatus]]:
    """How far these enrolments have come; what is missing is pending."""
    rows = await conn.fetch(
        "select enrolment_id, milestone, status from enrolment_milestones where enrolment_id = any($1::uuid[])",
        enrolment_ids,
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
