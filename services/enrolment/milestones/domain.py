"""The rules of milestones: reached by the co-leader, attested by the manager, waived or undone by the office. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from services.enrolment.enrolments.domain import POSSIBLE, Enrolment, EnrolmentAction, Member, Status, must_allow
from shared.errors import NotFoundError, RuleError
from shared.events import (
    EnrolmentCompleted,
    Event,
    Milestone,
    MilestoneAttested,
    MilestoneReached,
    MilestoneUndone,
    MilestoneWaived,
)
from shared.events.enrolment import MilestoneFact

# By the clock and nothing else: whether anybody has answered meanwhile is not known here, and must not show.
TAKE_BACK_MINUTES = 15


class MilestoneStatus(StrEnum):
    pending = "pending"
    reached = "reached"
    attested = "attested"
    waived = "waived"


# From which states a change leads to which.
_STEPS: dict[EnrolmentAction, tuple[frozenset[MilestoneStatus], MilestoneStatus]] = {
    EnrolmentAction.reach: (frozenset({MilestoneStatus.pending}), MilestoneStatus.reached),
    EnrolmentAction.attest: (frozenset({MilestoneStatus.reached}), MilestoneStatus.attested),
    EnrolmentAction.waive: (frozenset({MilestoneStatus.pending}), MilestoneStatus.waived),
    EnrolmentAction.undo: (frozenset(MilestoneStatus) - {MilestoneStatus.pending}, MilestoneStatus.pending),
}


@dataclass(frozen=True, slots=True)
class Journey:
    """An enrolment with the milestones of the version its cohort runs, and how far the person has come.

    A milestone missing from `progress` is pending. `reached_at`: when those were reached that their co-leader may still
    take back, if there is time; each only once.
    """

    enrolment: Enrolment
    member: Member
    plan: Sequence[Milestone]
    progress: Mapping[str, MilestoneStatus]
    reached_at: Mapping[str, datetime] = field(default_factory=dict)

    def status_of(self, key: str) -> MilestoneStatus:
        """Where the milestone with this key stands."""
        return self.progress.get(key, MilestoneStatus.pending)

    def take_back_before(self, key: str) -> datetime | None:
        """Until when the co-leader may take back what they reached; None: the programme office alone may."""
        at = self.reached_at.get(key)
        is_open = self.status_of(key) is MilestoneStatus.reached and self.enrolment.status is Status.active
        return at + timedelta(minutes=TAKE_BACK_MINUTES) if at is not None and is_open else None

    def completes_with(self, key: str) -> bool:
        """Whether nothing but this milestone is left."""
        pending = {one.key for one in self.plan if self.status_of(one.key) is MilestoneStatus.pending}
        return pending == {key}


class UnknownMilestoneError(NotFoundError):
    """The programme version has no milestone with this key."""


class MilestoneStateError(RuleError):
    """The milestone's state does not allow the change."""

    type = "milestone-state"
    title = "The milestone's state does not allow this"


class TooLateToUndoError(RuleError):
    """The co-leader had a short time for it, once."""

    type = "too-late-to-take-back"
    title = "This can no longer be taken back by oneself"


def take_back(journey: Journey, key: str, now: datetime) -> tuple[Journey, list[Event]]:
    """The co-leader reached it by mistake: it is pending again, and a round that it opened ends unread.

    Raises UnknownMilestoneError, CannotChangeError, MilestoneStateError, TooLateToUndoError.
    """
    undone = change(journey, key, EnrolmentAction.undo)
    before = journey.take_back_before(key)
    if before is None or now >= before:
        raise TooLateToUndoError(
            f"A milestone can be taken back by oneself once, within {TAKE_BACK_MINUTES} minutes of reaching it.",
            remedy="Ask the programme office, which can undo it at any time.",
        )
    return undone


def change(journey: Journey, key: str, what: EnrolmentAction) -> tuple[Journey, list[Event]]:
    """Move one milestone; when none is pending any more, the enrolment is completed.

    Raises UnknownMilestoneError, CannotChangeError (the enrolment's state), MilestoneStateError (the milestone's).
    """
    milestone = find(journey.plan, key)
    must_allow(journey.enrolment.status, what)
    sources, target = _STEPS[what]
    if journey.status_of(key) not in sources:
        possible = possible_for(journey, key)
        raise MilestoneStateError(
            f"The milestone is {journey.status_of(key)}; {what.value!r} is not possible.",
            remedy=f"Possible now: {', '.join(possible)}." if possible else None,
        )
    moved = replace(journey, progress={**journey.progress, key: target})
    return _complete(moved, [_fact(what, journey, milestone)])


def possible_for(journey: Journey, key: str) -> list[EnrolmentAction]:
    """What can be done to this milestone now, by whoever may."""
    status = journey.status_of(key)
    return [
        what
        for what, (sources, _) in _STEPS.items()
        if status in sources and what in POSSIBLE[journey.enrolment.status]
    ]


def _complete(journey: Journey, events: list[Event]) -> tuple[Journey, list[Event]]:
    is_done = all(journey.status_of(milestone.key) is not MilestoneStatus.pending for milestone in journey.plan)
    if not is_done or journey.enrolment.status is Status.completed:
        return journey, events
    completed = EnrolmentCompleted(
        enrolment_id=journey.enrolment.id,
        person_id=journey.enrolment.person_id,
        cohort_id=journey.enrolment.cohort_id,
        programme_id=journey.enrolment.programme_id,
        unit_id=journey.member.unit_id,
        manager_id=journey.member.manager_id,
    )
    return replace(journey, enrolment=replace(journey.enrolment, status=Status.completed)), [*events, completed]


def find(plan: Sequence[Milestone], key: str) -> Milestone:
    """The milestone with this key. Raises UnknownMilestoneError."""
    for milestone in plan:
        if milestone.key == key:
            return milestone
    raise UnknownMilestoneError(
        f"This programme has no milestone {key!r}.",
        field="milestone",
        remedy=f"Its milestones: {', '.join(milestone.key for milestone in plan)}.",
    )


def _fact(what: EnrolmentAction, journey: Journey, milestone: Milestone) -> Event:
    if what is EnrolmentAction.reach:
        return _told(MilestoneReached, journey, milestone, feedback=milestone.feedback)
    if what is EnrolmentAction.attest:
        return _told(MilestoneAttested, journey, milestone)
    if what is EnrolmentAction.waive:
        return _told(MilestoneWaived, journey, milestone)
    return _told(MilestoneUndone, journey, milestone)


_F = TypeVar("_F", bound=MilestoneFact)


def _told(event: type[_F], journey: Journey, milestone: Milestone, **more: Any) -> _F:
    return event(
        enrolment_id=journey.enrolment.id,
        person_id=journey.enrolment.person_id,
        cohort_id=journey.enrolment.cohort_id,
        programme_id=journey.enrolment.programme_id,
        unit_id=journey.member.unit_id,
        milestone=milestone.key,
        practices=milestone.practices,
        **more,
    )
