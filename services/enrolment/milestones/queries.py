"""Where enrolments stand along their milestones, what waits to be attested, and whom a round would ask."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments import store as enrolment_store
from services.enrolment.enrolments.domain import Enrolment, Member
from services.enrolment.enrolments.store import ListedEnrolment
from services.enrolment.milestones import domain, store
from services.enrolment.milestones.domain import Journey, MilestoneStatus
from shared.events import MOST_PEERS, FeedbackPlan, Group, Milestone
from shared.http.pagination import Page
from shared.postgres.pool import Connection
from shared.security.audit import audit_all
from shared.security.principal import Principal


async def asked_at_most(conn: Connection, member: Member, plan: FeedbackPlan, *, k: int) -> Mapping[Group, int]:
    """Of each group that the plan names, how many at most, as far as this service can know before a round opens.

    Feedback leaves out who cannot be reached, or is too few.
    """
    around = await store.around(conn, member)
    most = {
        Group.self: 1,
        Group.manager: int(member.has_manager),
        Group.peer: min(around.colleagues, max(MOST_PEERS, k)),
        Group.led: around.reports,
    }
    return {group: most[group] for group in Group if group in plan.groups and most.get(group)}


async def journey(conn: Connection, enrolment: Enrolment, member: Member) -> Journey:
    """The enrolment with its milestones."""
    return (await journeys(conn, [(enrolment, member)]))[enrolment.id]


async def journeys(conn: Connection, enrolments: Sequence[tuple[Enrolment, Member]]) -> dict[UUID, Journey]:
    """Several enrolments with their milestones, in two statements."""
    plans = await store.plans(conn, {enrolment.cohort_id for enrolment, _ in enrolments})
    progress = await store.progress(conn, [enrolment.id for enrolment, _ in enrolments])
    return {
        enrolment.id: _journey(enrolment, member, plans[enrolment.cohort_id], progress[enrolment.id])
        for enrolment, member in enrolments
    }


def _journey(
    enrolment: Enrolment, member: Member, plan: Sequence[Milestone], progress: Mapping[str, store.MilestoneProgress]
) -> Journey:
    return Journey(
        enrolment,
        member,
        plan,
        progress={key: one.status for key, one in progress.items()},
        reached_at={
            key: one.since
            for key, one in progress.items()
            if one.status is MilestoneStatus.reached and not one.was_taken_back
        },
    )


async def to_attest(
    conn: Connection, who: Principal, *, after: store.Waiting | None, limit: int, now: datetime
) -> Page[tuple[ListedEnrolment, Milestone]]:
    """Milestones that this manager's people say they have reached and nobody has attested, the oldest first."""
    if who.person_id is None:
        return Page(items=[])
    waiting = await store.reached_under(conn, who.person_id, after=after, limit=limit)
    listed = await enrolment_store.shown(conn, {enrolment_id for enrolment_id, _ in waiting.items})
    await audit_all(conn, who, "milestone.read", [each.member.person_id for each in listed.values()], now)
    plans = await store.plans(conn, {each.enrolment.cohort_id for each in listed.values()})

    def shown(one: tuple[UUID, str]) -> tuple[ListedEnrolment, Milestone]:
        enrolment_id, key = one
        return listed[enrolment_id], domain.find(plans[listed[enrolment_id].enrolment.cohort_id], key)

    return waiting.of(shown)
