"""The rules of a cohort: planned, open, running, closed; full while every place is taken. Pure."""

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.errors import RuleError
from shared.events import CohortCapacityChanged, CohortClosed, CohortOpened, CohortStarted, Event


class CohortStatus(StrEnum):
    """`full` is what an open cohort is called while its places are taken; it is never stored."""

    planned = "planned"
    open = "open"
    full = "full"
    running = "running"
    closed = "closed"


@dataclass(frozen=True, slots=True)
class Cohort:
    """One run of a programme version; `unit_id` is None when everybody may ask for a place."""

    id: UUID
    programme_id: UUID
    programme_version: int
    name: str
    capacity: int
    unit_id: UUID | None
    starts_on: date
    ends_on: date
    status: CohortStatus


@dataclass(frozen=True, slots=True)
class Places:
    """How a cohort's places stand, counted while it is locked. `approvals` counts every approval it ever had."""

    capacity: int
    taken: int
    waiting: int
    approvals: int

    @property
    def free(self) -> int:
        """Places nobody has; never negative."""
        return max(0, self.capacity - self.taken)


class WrongDatesError(RuleError):
    """A cohort cannot end before it starts."""

    status = 422
    type = "invalid"
    title = "Some of what was sent is not right"


class CohortStateError(RuleError):
    """The cohort's state does not allow the change."""

    type = "cohort-state"
    title = "The cohort's state does not allow this"


class CapacityTakenError(RuleError):
    """Capacity cannot go below the places already taken."""

    type = "capacity-is-taken"
    title = "More places are taken than that"


class CapacityChangedError(RuleError):
    """Somebody else has changed the number of places since whoever decides read it."""

    type = "capacity-changed"
    title = "The number of places has changed meanwhile"


# Which changes each state allows, by the words the API uses.
_POSSIBLE: dict[CohortStatus, tuple[str, ...]] = {
    CohortStatus.planned: ("open", "capacity", "close"),
    CohortStatus.open: ("start", "capacity", "close"),
    CohortStatus.running: ("capacity", "close"),
    CohortStatus.closed: (),
}


def plan(cohort: Cohort) -> Cohort:
    """A new cohort, checked. Raises WrongDatesError."""
    if cohort.ends_on < cohort.starts_on:
        raise WrongDatesError(
            f"The last day, {cohort.ends_on}, is before the first, {cohort.starts_on}.",
            field="ends_on",
            remedy="Choose a later last day.",
        )
    return cohort


def open_(cohort: Cohort) -> tuple[Cohort, list[Event]]:
    """People can ask for a place from now on. Raises CohortStateError."""
    changed = _step(cohort, "open", CohortStatus.open)
    return changed, [_told(CohortOpened, changed)]


def start(cohort: Cohort) -> tuple[Cohort, list[Event]]:
    """The cohort runs; nobody new can ask, but who waits can still get a place. Raises CohortStateError."""
    changed = _step(cohort, "start", CohortStatus.running)
    return changed, [_told(CohortStarted, changed)]


def close(cohort: Cohort) -> tuple[Cohort, list[Event]]:
    """The cohort is over: active people may finish, nobody gets a place any more. Raises CohortStateError."""
    changed = _step(cohort, "close", CohortStatus.closed)
    return changed, [_told(CohortClosed, changed)]


def set_capacity(
    cohort: Cohort, capacity: int, places: Places, *, seen: int | None = None
) -> tuple[Cohort, list[Event]]:
    """More or fewer places; a planned cohort is not public yet, so nothing is told of it. `seen`: how many were read.

    Raises CohortStateError, CapacityChangedError, and CapacityTakenError when more than `capacity` places are taken.
    """
    _must_allow(cohort, "capacity")
    if seen is not None and seen != cohort.capacity:
        raise CapacityChangedError(
            f"The cohort has {cohort.capacity} places now, not {seen}.", remedy="Read it again, then decide."
        )
    if capacity < places.taken:
        raise CapacityTakenError(
            f"{places.taken} places are taken.", field="capacity", remedy=f"Choose {places.taken} or more."
        )
    changed = replace(cohort, capacity=capacity)
    silent = cohort.status is CohortStatus.planned or capacity == cohort.capacity
    return changed, [] if silent else [_told(CohortCapacityChanged, changed)]


def shown(cohort: Cohort, taken: int) -> CohortStatus:
    """The state people are told, `full` included."""
    is_full = cohort.status is CohortStatus.open and taken >= cohort.capacity
    return CohortStatus.full if is_full else cohort.status


def possible_for(cohort: Cohort) -> tuple[str, ...]:
    """What can be done to the cohort now, by the words the API uses."""
    return _POSSIBLE[cohort.status]


def _step(cohort: Cohort, change: str, status: CohortStatus) -> Cohort:
    _must_allow(cohort, change)
    return replace(cohort, status=status)


def _must_allow(cohort: Cohort, change: str) -> None:
    possible = _POSSIBLE[cohort.status]
    if change not in possible:
        raise CohortStateError(
            f"The cohort is {cohort.status}; {change!r} is not possible.",
            remedy=f"Possible now: {', '.join(possible)}." if possible else "A closed cohort stays closed.",
        )


def _told(event: type[CohortOpened | CohortStarted | CohortClosed | CohortCapacityChanged], cohort: Cohort) -> Event:
    return event(
        cohort_id=cohort.id,
        programme_id=cohort.programme_id,
        programme_version=cohort.programme_version,
        name=cohort.name,
        capacity=cohort.capacity,
        unit_id=cohort.unit_id,
        starts_on=cohort.starts_on,
        ends_on=cohort.ends_on,
    )
