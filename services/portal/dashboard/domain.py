"""What the public events say about where everything stands."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from shared import events
from shared.events import Event, Practice

ENROLMENT_STATES: Mapping[type[Event], str] = {
    events.EnrolmentRequested: "requested",
    events.EnrolmentApproved: "approved",
    events.EnrolmentWaitlisted: "waitlisted",
    events.EnrolmentActivated: "active",
    events.EnrolmentCompleted: "completed",
    events.EnrolmentDeclined: "declined",
    events.EnrolmentWithdrawn: "withdrawn",
    events.EnrolmentExpired: "expired",
}
MILESTONE_STATES: Mapping[type[Event], str] = {
    events.MilestoneReached: "reached",
    events.MilestoneAttested: "attested",
    events.MilestoneWaived: "waived",
    events.MilestoneUndone: "undone",
}
ROUND_STATES: Mapping[type[Event], str] = {
    events.RoundOpened: "open",
    events.RoundClosed: "closed",
    events.ResultsReleased: "released",
    events.RoundWithheld: "withheld",
}
DELIVERY_STATES: Mapping[type[Event], str] = {
    events.NotificationSent: "sent",
    events.NotificationDeferred: "deferred",
    events.NotificationFailed: "failed",
}
COHORT_STATES: Mapping[type[Event], str] = {
    events.CohortOpened: "open",
    events.CohortStarted: "running",
    events.CohortClosed: "closed",
}

FUNNEL = ("requested", "approved", "waitlisted", "active", "completed")
ENDED = ("declined", "withdrawn", "expired")


class Sequenced(Protocol):
    """Anything that knows its place among the facts of its aggregate."""

    @property
    def sequence(self) -> int: ...


S = TypeVar("S", bound=Sequenced)


def newest(facts: Iterable[S], key: Callable[[S], Hashable]) -> list[S]:
    """Of the facts about each key the one with the highest sequence, in the order the keys first came."""
    best: dict[Hashable, S] = {}
    for fact in facts:
        known = best.get(key(fact))
        if known is None or known.sequence < fact.sequence:
            best[key(fact)] = fact
    return list(best.values())


@dataclass(frozen=True, slots=True)
class Within:
    """The part of the organisation that figures are asked for; None leaves that side open. Hashable."""

    units: frozenset[UUID] | None = None
    programme: UUID | None = None


EVERYTHING = Within()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many things stand in each state, as the store counted them."""

    enrolments: Mapping[str, int]
    milestones: Mapping[str, int]
    practices: Mapping[str, int]
    rounds: Mapping[str, int]
    deliveries: Mapping[str, int]
    cohorts: Mapping[str, int]
    programmes: int
    position: int
    newest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the overview shows; every key is always there, zero when nothing is.

    `deliveries` is null for a part of the organisation: which part a message concerns is not public.
    """

    position: int
    newest_at: datetime | None
    enrolments: Mapping[str, int]
    milestones: Mapping[str, int]
    practices: Mapping[str, int]
    rounds: Mapping[str, int]
    deliveries: Mapping[str, int] | None
    cohorts: Mapping[str, int]
    programmes: int


def figures(counts: Counts, within: Within) -> Figures:
    """Counts of a part with every state named, in the order people read them."""
    return Figures(
        position=counts.position,
        newest_at=counts.newest_at,
        enrolments=_complete(counts.enrolments, (*FUNNEL, *ENDED)),
        milestones=_milestones(counts.milestones),
        practices=_complete(counts.practices, tuple(Practice)),
        rounds=_complete(counts.rounds, ("open", "closed", "released", "withheld")),
        deliveries=_complete(counts.deliveries, ("sent", "deferred", "failed")) if within == EVERYTHING else None,
        cohorts=_complete(counts.cohorts, ("open", "running", "closed")),
        programmes=counts.programmes,
    )


def _milestones(counted: Mapping[str, int]) -> dict[str, int]:
    """A milestone that a manager attested is reached too; counts keep each in one state."""
    states = _complete(counted, ("reached", "attested", "waived"))
    return states | {"reached": states["reached"] + states["attested"]}


def _complete(counted: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    return {str(name): counted.get(name, 0) for name in names}
