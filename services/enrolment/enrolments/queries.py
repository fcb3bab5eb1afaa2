"""Who may see which enrolments. Looking at somebody else's is put on record: those on the page, and no others."""

from datetime import datetime
from uuid import UUID

from services.enrolment.cohorts import store as cohorts
from services.enrolment.enrolments import authority, store
from services.enrolment.enrolments.domain import Status
from services.enrolment.enrolments.store import ListedEnrolment
from shared.errors import NotAllowedError, NotFoundError
from shared.events.vocabulary import Role
from shared.http.pagination import Page
from shared.postgres.pool import Connection
from shared.security.audit import audit, audit_all
from shared.security.authorization import units_of
from shared.security.principal import Principal


async def one(conn: Connection, who: Principal, enrolment_id: UUID, *, now: datetime) -> ListedEnrolment:
    """One enrolment, for the co-leader, the manager and the programme office. Raises NotFoundError."""
    listed = await shown(conn, enrolment_id)
    await authority.must_be_concerned(conn, who, listed.member)
    if not authority.is_self(who, listed.member):
        await audit(conn, who, "enrolment.read", listed.member.person_id, now)
    return listed


async def shown(conn: Connection, enrolment_id: UUID) -> ListedEnrolment:
    """The enrolment as it stands, for the one who has just changed it. Raises NotFoundError."""
    found = await store.shown(conn, [enrolment_id])
    if enrolment_id not in found:
        raise authority.unknown()
    return found[enrolment_id]


async def mine(conn: Connection, who: Principal, *, after: UUID | None, limit: int) -> Page[ListedEnrolment]:
    """One's own, the newest first; a machine has none."""
    if who.person_id is None:
        return Page(items=[])
    return await store.of_person(conn, who.person_id, after=after, limit=limit)


async def of_person(
    conn: Connection, who: Principal, person_id: UUID, *, limit: int, now: datetime
) -> list[ListedEnrolment] | None:
    """A person's, the newest first, for themselves, their manager and the programme office; None: not for `who`."""
    member = (await store.members(conn, [person_id])).get(person_id)
    if member is None or not await authority.is_concerned(conn, who, member):
        return None
    page = await store.of_person(conn, person_id, after=None, limit=limit)
    return (await _recorded(conn, who, page, now)).items


async def to_decide(
    conn: Connection, who: Principal, *, after: UUID | None, limit: int, now: datetime
) -> Page[ListedEnrolment]:
    """Requests that wait for this person's answer, as manager or as programme office, the oldest first."""
    units = await units_of(conn, who, Role.programme_office)
    page = await store.to_decide(conn, who.person_id, office_units=units, after=after, limit=limit)
    return await _recorded(conn, who, page, now)


async def of_cohort(
    conn: Connection,
    who: Principal,
    cohort_id: UUID,
    *,
    status: Status | None,
    after: UUID | None,
    limit: int,
    now: datetime,
) -> Page[ListedEnrolment]:
    """A cohort's enrolments, for the programme office: those of the people in its units.

    Raises NotFoundError, NotAllowedError.
    """
    units = await units_of(conn, who, Role.programme_office)
    if units is not None and not units:
        raise NotAllowedError("Only the programme office sees who is in a cohort.", remedy="Ask for that role.")
    if await cohorts.get(conn, cohort_id) is None:
        raise NotFoundError("There is no cohort with this id.", field="cohort", remedy="Choose one from the list.")
    page = await store.of_cohort(conn, cohort_id, units=units, status=status, after=after, limit=limit)
    return await _recorded(conn, who, page, now)


async def _recorded(
    conn: Connection, who: Principal, page: Page[ListedEnrolment], now: datetime
) -> Page[ListedEnrolment]:
    others = [each.member.person_id for each in page.items if not authority.is_self(who, each.member)]
    await audit_all(conn, who, "enrolment.read", others, now)
    return page
