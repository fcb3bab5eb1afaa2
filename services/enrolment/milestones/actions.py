"""What people do to milestones. API and pages call this on the transaction they opened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments import actions as enrolments
from services.enrolment.enrolments import authority
from services.enrolment.enrolments import store as enrolment_store
from services.enrolment.enrolments.domain import Change, Enrolment, Member
from services.enrolment.enrolments.store import Listed
from services.enrolment.milestones import domain, store
from services.enrolment.milestones.domain import Journey, MilestoneStatus
from shared.events import Milestone
from shared.http.pagination import Page
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.audit import audit, audit_all
from shared.security.principal import Principal


async def change(
    conn: Connection, who: Principal, enrolment_id: UUID, key: str, what: Change, *, now: datetime
) -> Journey:
    """Reach (the co-leader), attest (the manager), waive or undo (the programme office) one milestone.

    The co-leader may undo too, for a short time after reaching it, once.
    Raises NotFoundError, NotAllowedError, CannotChangeError, UnknownMilestoneError, MilestoneStateError,
    TooLateToUndoError.
    """
    enrolment, member = await enrolments.lock(conn, enrolment_id)
    takes_back = what is Change.undo and authority.is_self(who, member)
    if not takes_back:
        await _must_be_entitled(conn, who, member, what)
    before = await journey(conn, enrolment, member)
    after, events = domain.take_back(before, key, now) if takes_back else domain.change(before, key, what)
    await store.put(conn, enrolment_id, key, after.status_of(key), now, taken_back=takes_back)
    if after.enrolment.status is not enrolment.status:
        await enrolment_store.update(conn, [after.enrolment], now)
    if not authority.is_self(who, member):
        await audit(conn, who, f"milestone.{what}", member.person_id, now)
    await outbox.add(conn, *events, now=now)
    return await journey(conn, after.enrolment, member)


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
    enrolment: Enrolment, member: Member, plan: Sequence[Milestone], progress: Mapping[str, store.Standing]
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
) -> Page[tuple[Listed, Milestone]]:
    """Milestones that this manager's people say they have reached and nobody has attested, the oldest first."""
    if who.person_id is None:
        return Page(items=[])
    waiting = await store.reached_under(conn, who.person_id, after=after, limit=limit)
    listed = await enrolment_store.shown(conn, {enrolment_id for enrolment_id, _ in waiting.items})
    await audit_all(conn, who, "milestone.read", [each.member.person_id for each in listed.values()], now)
    plans = await store.plans(conn, {each.enrolment.cohort_id for each in listed.values()})

    def shown(one: tuple[UUID, str]) -> tuple[Listed, Milestone]:
        enrolment_id, key = one
        return listed[enrolment_id], domain.find(plans[listed[enrolment_id].enrolment.cohort_id], key)

    return waiting.of(shown)


async def _must_be_entitled(conn: Connection, who: Principal, member: Member, what: Change) -> None:
    if what is Change.reach:
        authority.must_be_self(who, member)
    elif what is Change.attest:
        await authority.must_be_manager(conn, who, member)
    else:
        await authority.must_be_office(conn, who, member)
