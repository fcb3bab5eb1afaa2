"""Cohorts: planned, open, running, closed, and how many have a place."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from services.enrolment.cohorts import domain
from services.enrolment.cohorts.domain import (
    CapacityTakenError,
    Cohort,
    CohortStateError,
    CohortStatus,
    Places,
    WrongDatesError,
)
from shared.events import CohortCapacityChanged, CohortClosed, CohortOpened, CohortStarted, Event

PLANNED = Cohort(
    id=UUID("0198c0de-0000-7000-8000-000000000005"),
    programme_id=UUID("0198c0de-0000-7000-8000-000000000004"),
    programme_version=2,
    name="Spring",
    capacity=40,
    unit_id=None,
    starts_on=date(2026, 3, 2),
    ends_on=date(2026, 6, 12),
    status=CohortStatus.planned,
)
EMPTY = Places(capacity=40, taken=0, waiting=0, approvals=0)

Step = Callable[[Cohort], tuple[Cohort, list[Event]]]


def capacity(cohort: Cohort) -> tuple[Cohort, list[Event]]:
    return domain.set_capacity(cohort, 50, EMPTY)


ALLOWED: list[tuple[CohortStatus, Step, CohortStatus]] = [
    (CohortStatus.planned, domain.open_, CohortStatus.open),
    (CohortStatus.planned, domain.close, CohortStatus.closed),
    (CohortStatus.planned, capacity, CohortStatus.planned),
    (CohortStatus.open, domain.start, CohortStatus.running),
    (CohortStatus.open, domain.close, CohortStatus.closed),
    (CohortStatus.open, capacity, CohortStatus.open),
    (CohortStatus.running, domain.close, CohortStatus.closed),
    (CohortStatus.running, capacity, CohortStatus.running),
]
STORED = [CohortStatus.planned, CohortStatus.open, CohortStatus.running, CohortStatus.closed]
FORBIDDEN = [
    (status, step)
    for status in STORED
    for step in (domain.open_, domain.start, domain.close, capacity)
    if (status, step) not in [(source, step) for source, step, _ in ALLOWED]
]


@pytest.mark.parametrize(("status", "step", "outcome"), ALLOWED)
def test_a_cohort_moves_on(status: CohortStatus, step: Step, outcome: CohortStatus) -> None:
    assert step(replace(PLANNED, status=status))[0].status is outcome


@pytest.mark.parametrize(("status", "step"), FORBIDDEN)
def test_any_other_step_is_refused_naming_the_state(status: CohortStatus, step: Step) -> None:
    with pytest.raises(CohortStateError, match=f"The cohort is {status}"):
        step(replace(PLANNED, status=status))


def test_each_step_tells_all_of_the_cohort() -> None:
    opened, told_open = domain.open_(PLANNED)
    started, told_start = domain.start(opened)
    _, told_close = domain.close(started)
    assert [type(event) for event in told_open + told_start + told_close] == [CohortOpened, CohortStarted, CohortClosed]
    [event] = told_open
    assert isinstance(event, CohortOpened)
    assert (event.name, event.capacity, event.programme_version, event.starts_on) == ("Spring", 40, 2, date(2026, 3, 2))


def test_a_cohort_cannot_end_before_it_starts() -> None:
    with pytest.raises(WrongDatesError) as refused:
        domain.plan(replace(PLANNED, ends_on=date(2026, 3, 1)))
    assert refused.value.field == "ends_on"


def test_capacity_never_goes_below_the_places_taken() -> None:
    running = replace(PLANNED, status=CohortStatus.running)
    places = Places(capacity=40, taken=12, waiting=0, approvals=12)
    with pytest.raises(CapacityTakenError):
        domain.set_capacity(running, 11, places)
    changed, events = domain.set_capacity(running, 12, places)
    assert changed.capacity == 12
    assert [type(event) for event in events] == [CohortCapacityChanged]


def test_capacity_of_a_planned_cohort_is_not_public_yet_and_the_same_capacity_is_no_news() -> None:
    assert domain.set_capacity(PLANNED, 10, EMPTY)[1] == []
    assert domain.set_capacity(replace(PLANNED, status=CohortStatus.open), 40, EMPTY)[1] == []


def test_an_open_cohort_is_full_while_its_places_are_taken() -> None:
    opened = replace(PLANNED, status=CohortStatus.open)
    assert domain.shown(opened, 39) is CohortStatus.open
    assert domain.shown(opened, 40) is CohortStatus.full
    assert domain.shown(replace(PLANNED, status=CohortStatus.running), 40) is CohortStatus.running
