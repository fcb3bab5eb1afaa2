"""What people do to milestones. API and pages call this on the transaction they opened."""

from datetime import datetime
from uuid import UUID

from services.enrolment.enrolments import actions as enrolments
from services.enrolment.enrolments import authority
from services.enrolment.enrolments import store as enrolment_store
from services.enrolment.enrolments.domain import EnrolmentAction, Member
from services.enrolment.milestones import domain, queries, store
from services.enrolment.milestones.domain import Journey
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.principal import Principal


async def change(
    conn: Connection, who: Principal, enrolment_id: UUID, key: str, what: EnrolmentAction, *, now: datetime
) -> Journey:
    """Reach (the co-leader), attest (the manager), waive or undo (the programme office) one milestone.

    The co-leader may undo too, for a short time after reaching it, once.
    Raises NotFoundError, NotAllowedError, CannotChangeError, UnknownMilestoneError, MilestoneStateError,
    TooLateToUndoError.
    """
    enrolment, member = await enrolments.lock(conn, enrolment_id)
    takes_back = what is EnrolmentAction.undo and authority.is_self(who, member)
    if not takes_back:
        await _must_be_entitled(conn, who, member, what)
    before = await queries.journey(conn, enrolment, member)
    after, events = domain.take_back(before, key, now) if takes_back else domain.change(before, key, what)
    await store.put(conn, enrolment_id, key, after.status_of(key), now, taken_back=takes_back)
    if after.enrolment.status is not enrolment.status:
        await enrolment_store.update(conn, [after.enrolment], now)
    if not authority.is_self(who, member):
        await audit(conn, who, f"milestone.{what}", member.person_id, now)
    await outbox.add(conn, *events, now=now)
    return await queries.journey(conn, after.enrolment, member)


async def _must_be_entitled(conn: Connection, who: Principal, member: Member, what: EnrolmentAction) -> None:
    if what is EnrolmentAction.reach:
        await authority.must_be_self(conn, who, member)
    elif what is EnrolmentAction.attest:
        await authority.must_be_manager(conn, who, member)
    else:
        await authority.must_be_office(conn, who, member)
