"""Whom a milestone's feedback round would ask, as far as this service can know before it opens."""

from collections.abc import Mapping

from services.enrolment.enrolments.domain import Member
from services.enrolment.milestones import store
from shared.events import MOST_PEERS, FeedbackPlan, Group
from shared.postgres.pool import Connection


async def asked_at_most(conn: Connection, member: Member, plan: FeedbackPlan, *, k: int) -> Mapping[Group, int]:
    """Of each group that the plan names, how many at most: feedback leaves out who cannot be reached, or is too few."""
    around = await store.around(conn, member)
    most = {
        Group.self: 1,
        Group.manager: int(member.has_manager),
        Group.peer: min(around.colleagues, max(MOST_PEERS, k)),
        Group.led: around.reports,
    }
    return {group: most[group] for group in Group if group in plan.groups and most.get(group)}
