"""The rules of an enrolment: which change is possible when, who decides, and the facts a change gives. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from services.enrolment.cohorts.domain import Cohort, CohortStatus, Places
from shared.clock import end_of_day
from shared.errors import RuleError
from shared.events import (
    EnrolmentActivated,
    EnrolmentApproved,
    EnrolmentApproverChanged,
    EnrolmentDeclined,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    Event,
    PersonStatus,
)
from shared.events.enrolment import EnrolmentFact


class Status(StrEnum):
    """Approved is missing on purpose: an approval makes an enrolment active or waitlisted at once."""

    requested = "requested"
    declined = "declined"
    waitlisted = "waitlisted"
    active = "active"
    completed = "completed"
    withdrawn = "withdrawn"
    expired = "expired"


class EnrolmentAction(StrEnum):
    """What people do to an enrolment, by the words the API uses."""

    approve = "approve"
    decline = "decline"
    withdraw = "withdraw"
    reach = "reach"
    attest = "attest"
    waive = "waive"
    undo = "undo"


POSSIBLE: dict[Status, tuple[EnrolmentAction, ...]] = {
    Status.requested: (EnrolmentAction.approve, EnrolmentAction.decline, EnrolmentAction.withdraw),
    Status.waitlisted: (EnrolmentAction.withdraw,),
    Status.active: (
        EnrolmentAction.reach,
        EnrolmentAction.attest,
        EnrolmentAction.waive,
        EnrolmentAction.undo,
        EnrolmentAction.withdraw,
    ),
    Status.completed: (EnrolmentAction.attest,),
    Status.declined: (),
    Status.withdrawn: (),
    Status.expired: (),
}
OPEN = (Status.requested, Status.waitlisted, Status.active)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One person in one cohort. `approval` is its number among the cohort's approvals: who waits keeps that order."""

    id: UUID
    person_id: UUID
    cohort_id: UUID
    programme_id: UUID
    status: Status
    requested_at: datetime
    approve_before: datetime
    approval: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A person as the organisation knows them now: facts carry these values, whatever they were before."""

    person_id: UUID
    unit_id: UUID
    manager_id: UUID | None
    manager_is_active: bool
    status: PersonStatus
    time_zone: str

    @property
    def has_manager(self) -> bool:
        """Whether a manager is there to decide; the programme office decides where not."""
        return self.manager_id is not None and self.manager_is_active


class CannotChangeError(RuleError):
    """The enrolment's state does not allow the change."""

    type = "enrolment-state"
    title = "The enrolment's state does not allow this"


class CohortNotOpenError(RuleError):
    """Places can be asked for only while the cohort is open, full or not."""

    type = "cohort-not-open"
    title = "The cohort takes no requests"


class OtherUnitError(RuleError):
    """The cohort is for another part of the organisation."""

    status = 403
    type = "cohort-for-another-unit"
    title = "The cohort is for another unit"


class NotActiveError(RuleError):
    """Only active people take part."""

    type = "person-not-active"
    title = "The person is not active"


class AlreadyEnrolledError(RuleError):
    """One open enrolment for each person and programme, and no cohort twice."""

    type = "already-enrolled"
    title = "There is an enrolment already"

    def __init__(self) -> None:
        super().__init__(
            "This person has asked for, waits for or holds a place in this programme, or has finished this cohort.",
            field="cohort_id",
            remedy="See the enrolment that exists; one in another cohort can be withdrawn first.",
        )


def request(
    enrolment_id: UUID, member: Member, cohort: Cohort, *, is_in_unit: bool, now: datetime, answer_within: timedelta
) -> tuple[Enrolment, list[Event]]:
    """A person asks for a place. `is_in_unit`: the person belongs to the cohort's unit or one below it, if it has one.

    Raises CohortNotOpenError, NotActiveError, OtherUnitError.
    """
    if cohort.status is not CohortStatus.open:
        raise CohortNotOpenError(
            f"The cohort is {cohort.status}.", field="cohort_id", remedy="Ask for a place in an open cohort."
        )
    if member.status is not PersonStatus.active:
        raise NotActiveError("Only an active person can ask for a place.")
    if not is_in_unit:
        raise OtherUnitError(
            "The cohort is for people of another unit.", field="cohort_id", remedy="Choose another cohort."
        )
    enrolment = Enrolment(
        id=enrolment_id,
        person_id=member.person_id,
        cohort_id=cohort.id,
        programme_id=cohort.programme_id,
        status=Status.requested,
        requested_at=now,
        approve_before=end_of_day(now + answer_within, member.time_zone),
    )
    return enrolment, [_told(EnrolmentRequested, enrolment, member, approve_before=enrolment.approve_before)]


def approve(enrolment: Enrolment, member: Member, places: Places) -> tuple[Enrolment, list[Event]]:
    """The decider says yes; the places, counted while the cohort is locked, say active or waitlisted.

    Raises CannotChangeError, NotActiveError.
    """
    must_allow(enrolment.status, EnrolmentAction.approve)
    if member.status is PersonStatus.inactive:
        raise NotActiveError("The person is no longer active.", remedy="Decline the request.")
    has_place = places.free > 0
    decided = replace(
        enrolment, status=Status.active if has_place else Status.waitlisted, approval=places.approvals + 1
    )
    outcome = (
        _told(EnrolmentActivated, enrolment, member, promoted=False)
        if has_place
        else _told(EnrolmentWaitlisted, enrolment, member, position=places.waiting + 1)
    )
    return decided, [_told(EnrolmentApproved, enrolment, member), outcome]


def change_approver(enrolment: Enrolment, member: Member) -> Event:
    """The person reports to another manager than when they asked; the caller picks only requests without an answer."""
    return _told(EnrolmentApproverChanged, enrolment, member, approve_before=enrolment.approve_before)


def decline(enrolment: Enrolment, member: Member) -> tuple[Enrolment, list[Event]]:
    """The decider says no. Raises CannotChangeError."""
    must_allow(enrolment.status, EnrolmentAction.decline)
    # Whose no it was is the decider's and the person's matter, and nobody's who reads the stream (ADR 0013).
    without_manager = replace(member, manager_id=None)
    return replace(enrolment, status=Status.declined), [_told(EnrolmentDeclined, enrolment, without_manager)]


def withdraw(enrolment: Enrolment, member: Member) -> tuple[Enrolment, list[Event]]:
    """The enrolment ends early; whoever held a place frees it. Raises CannotChangeError."""
    must_allow(enrolment.status, EnrolmentAction.withdraw)
    return replace(enrolment, status=Status.withdrawn), [_told(EnrolmentWithdrawn, enrolment, member)]


def expire(enrolment: Enrolment, member: Member) -> tuple[Enrolment, list[Event]]:
    """Time ran out on a request, or the cohort closed on who was waiting; the caller picks only such enrolments."""
    return replace(enrolment, status=Status.expired), [_told(EnrolmentExpired, enrolment, member)]


def promote(
    waiting: Sequence[tuple[Enrolment, Member]], cohort: Cohort, places: Places
) -> tuple[list[Enrolment], list[Event]]:
    """Free places go to who waits, `waiting` being in the order of approval; none once the cohort has closed.

    Whoever has left the organisation is passed over: their enrolment is about to be withdrawn.
    """
    if cohort.status not in (CohortStatus.open, CohortStatus.running):
        return [], []
    here = [(enrolment, member) for enrolment, member in waiting if member.status is not PersonStatus.inactive]
    chosen = here[: places.free]
    return (
        [replace(enrolment, status=Status.active) for enrolment, _ in chosen],
        [_told(EnrolmentActivated, enrolment, member, promoted=True) for enrolment, member in chosen],
    )


def must_allow(status: Status, change: EnrolmentAction) -> None:
    """Raises CannotChangeError, naming the state and what is possible, unless `change` is possible in `status`."""
    possible = POSSIBLE[status]
    if change not in possible:
        raise CannotChangeError(
            f"The enrolment is {status}; {change.value!r} is not possible.",
            remedy=f"Possible now: {', '.join(possible)}." if possible else "Ask for a place anew.",
        )


_F = TypeVar("_F", bound=EnrolmentFact)


def _told(event: type[_F], enrolment: Enrolment, member: Member, **more: Any) -> _F:
    return event(
        enrolment_id=enrolment.id,
        person_id=enrolment.person_id,
        cohort_id=enrolment.cohort_id,
        programme_id=enrolment.programme_id,
        unit_id=member.unit_id,
        manager_id=member.manager_id,
        **more,
    )
