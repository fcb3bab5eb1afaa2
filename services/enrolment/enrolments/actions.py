"""What people do to enrolments. API and pages call these on the transaction they opened."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.enrolment.cohorts import store as cohorts
from services.enrolment.cohorts.domain import Cohort
from services.enrolment.enrolments import authority, domain, store
from services.enrolment.enrolments.domain import Enrolment, EnrolmentAction, Member, Status
from shared import timers
from shared.directory.unit_tree import is_under
from shared.errors import NotAllowedError, NotFoundError
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.handler import Received
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.principal import Principal

APPROVAL_TIMER = "enrolment.approval"


async def request(
    conn: Connection, who: Principal, cohort_id: UUID, *, now: datetime, answer_within: timedelta
) -> Enrolment:
    """Ask for a place for oneself; without an answer `answer_within` from now the request expires.

    Raises NotAllowedError, NotFoundError, CohortNotOpenError, NotActiveError, OtherUnitError, AlreadyEnrolledError.
    """
    if who.person_id is None:
        raise NotAllowedError("Only a person can ask for a place.", remedy="Sign in as the person who wants it.")
    cohort = await cohorts.share(conn, cohort_id)
    if cohort is None:
        raise NotFoundError("There is no cohort with this id.", field="cohort_id", remedy="Choose one from the list.")
    member = await _member(conn, who.person_id)
    is_in_unit = cohort.unit_id is None or await is_under(conn, member.unit_id, [cohort.unit_id])
    enrolment, events = domain.request(
        new_id(), member, cohort, is_in_unit=is_in_unit, now=now, answer_within=answer_within
    )
    if not await store.insert(conn, enrolment):
        raise domain.AlreadyEnrolledError
    # Never cancelled: the timer finds a request that was answered and does nothing. So answering takes no lock on it.
    await timers.schedule(conn, APPROVAL_TIMER, str(enrolment.id), enrolment.approve_before)
    await outbox.add(conn, *events, now=now)
    return enrolment


async def approve(conn: Connection, who: Principal, enrolment_id: UUID, *, now: datetime) -> Enrolment:
    """Say yes; the cohort's row lock makes approvals queue, so that each counts the places that are really left.

    Raises NotFoundError, NotAllowedError, CannotChangeError, NotActiveError.
    """
    enrolment, member, cohort = await _lock_with_cohort(conn, enrolment_id)
    await authority.must_be_manager(conn, who, member)
    places = (await cohorts.places(conn, [cohort.id]))[cohort.id]
    decided, events = domain.approve(enrolment, member, places)
    await store.update(conn, [decided], now)
    await cohorts.count_approval(conn, cohort.id)
    await _note(conn, who, EnrolmentAction.approve, member, now)
    await outbox.add(conn, *events, now=now)
    return decided


async def decline(conn: Connection, who: Principal, enrolment_id: UUID, *, now: datetime) -> Enrolment:
    """Say no. Raises NotFoundError, NotAllowedError, CannotChangeError."""
    enrolment, member = await lock(conn, enrolment_id)
    await authority.must_be_manager(conn, who, member)
    decided, events = domain.decline(enrolment, member)
    await store.update(conn, [decided], now)
    await _note(conn, who, EnrolmentAction.decline, member, now)
    await outbox.add(conn, *events, now=now)
    return decided


async def withdraw(conn: Connection, who: Principal, enrolment_id: UUID, *, now: datetime) -> Enrolment:
    """End an enrolment early; who has waited longest gets the place in the same transaction.

    Raises NotFoundError, NotAllowedError, CannotChangeError.
    """
    enrolment, member, cohort = await _lock_with_cohort(conn, enrolment_id)
    await authority.must_be_concerned(conn, who, member)
    ended, events = domain.withdraw(enrolment, member)
    await store.update(conn, [ended], now)
    await _note(conn, who, EnrolmentAction.withdraw, member, now)
    await outbox.add(conn, *events, now=now)
    await fill_places(conn, cohort, now=now)
    return ended


async def fill_places(conn: Connection, cohort: Cohort, *, now: datetime, cause: Received[Any] | None = None) -> None:
    """Give the free places of a cohort, which the caller has locked, to who has waited longest."""
    places = (await cohorts.places(conn, [cohort.id]))[cohort.id]
    if not places.free or not places.waiting:
        return
    waiting = await store.waiting(conn, cohort.id, places.free)
    members = await store.members(conn, [enrolment.person_id for enrolment in waiting])
    promoted, events = domain.promote([(each, members[each.person_id]) for each in waiting], cohort, places)
    await store.update(conn, promoted, now)
    await outbox.add(conn, *events, now=now, cause=cause)


async def expire_unplaced(conn: Connection, cohort_id: UUID, *, now: datetime) -> None:
    """The cohort, locked by the caller, has closed: who asked or waited gets no place any more."""
    await _expire(conn, await store.lock_unplaced(conn, cohort_id), now)


async def expire_unanswered(conn: Connection, enrolment_ids: Sequence[UUID], *, now: datetime) -> None:
    """End those of these requests that nobody answered in time; the others are left as they are."""
    locked = await store.lock(conn, enrolment_ids)
    overdue = [each for each in locked if each.status is Status.requested and each.approve_before <= now]
    await _expire(conn, overdue, now)


async def lock(conn: Connection, enrolment_id: UUID) -> tuple[Enrolment, Member]:
    """One enrolment, locked, and its person. Raises NotFoundError."""
    found = await store.lock(conn, [enrolment_id])
    if not found:
        raise authority.unknown()
    return found[0], await _member(conn, found[0].person_id)


async def _lock_with_cohort(conn: Connection, enrolment_id: UUID) -> tuple[Enrolment, Member, Cohort]:
    seen = await store.get(conn, enrolment_id)
    if seen is None:
        raise authority.unknown()
    cohort = (await cohorts.lock(conn, [seen.cohort_id]))[seen.cohort_id]
    enrolment, member = await lock(conn, enrolment_id)
    return enrolment, member, cohort


async def _expire(conn: Connection, enrolments: Sequence[Enrolment], now: datetime) -> None:
    members = await store.members(conn, [each.person_id for each in enrolments])
    expired = [domain.expire(each, members[each.person_id]) for each in enrolments]
    await store.update(conn, [enrolment for enrolment, _ in expired], now)
    await outbox.add(conn, *(event for _, events in expired for event in events), now=now)


async def _member(conn: Connection, person_id: UUID) -> Member:
    found = await store.members(conn, [person_id])
    if person_id not in found:
        raise NotAllowedError("You are not among the people the HR platform sent.", remedy="Ask HR to add you.")
    return found[person_id]


async def _note(conn: Connection, who: Principal, change: EnrolmentAction, member: Member, now: datetime) -> None:
    if not authority.is_self(who, member):
        await audit(conn, who, f"enrolment.{change}", member.person_id, now)
