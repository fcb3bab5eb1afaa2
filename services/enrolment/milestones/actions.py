"""What people do to milestones. API and pages call this on the transaction they opened."""

from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments import actions as enrolments
from services.enrolment.enrolments import authority
from services.enrolment.enrolments import store as enrolment_store
from services.enrolment.enrolments.domain import Change, Enrolment, Member
from services.enrolment.milestones import domain, store
from services.enrolment.milestones.domain import Journey
from shared import outbox
from shared.access import audit
from shared.auth import Principal
from shared.db import Connection


async def change(
    conn: Connection, who: Principal, enrolment_id: UUID, key: str, what: Change, *, now: datetime
) -> Journey:
    """Reach (the co-leader), attest (the manager), waive or undo (the programme office) one milestone.

    Raises Unknown, NotAllowed, CannotChange, UnknownMilestone, MilestoneCannot.
    """
    enrolment, member = await enrolments.lock(conn, enrolment_id)
    await _must_be_entitled(conn, who, member, what)
    before = await journey(conn, enrolment, member)
    after, events = domain.change(before, key, what)
    await store.put(conn, enrolment_id, key, after.status_of(key), now)
    if after.enrolment.status is not enrolment.status:
        await enrolment_store.update(conn, [after.enrolment], now)
    if not authority.is_self(who, member):
        await audit(conn, who, f"milestone.{what}", member.person_id, now)
    await outbox.add(conn, *events, now=now)
    return after


async def journey(conn: Connection, enrolment: Enrolment, member: Member) -> Journey:
    """The enrolment with its milestones."""
    return Journey(
        enrolment=enrolment,
        member=member,
        plan=await store.plan(conn, enrolment.cohort_id),
        progress=(await store.progress(conn, [enrolment.id]))[enrolment.id],
    )


async def _must_be_entitled(conn: Connection, who: Principal, member: Member, what: Change) -> None:
    if what is Change.reach:
        authority.must_be_self(who, member)
    elif what is Change.attest:
        await authority.must_be_manager(conn, who, member)
    else:
        await authority.must_be_office(conn, who, member)
