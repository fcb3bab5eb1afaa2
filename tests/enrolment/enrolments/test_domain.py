"""Enrolments: which change is possible when, and what it tells."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from services.enrolment.cohorts.domain import Cohort, CohortStatus, Places
from services.enrolment.enrolments import domain
from services.enrolment.enrolments.domain import (
    CannotChangeError,
    CohortNotOpenError,
    Enrolment,
    Member,
    NotActiveError,
    OtherUnitError,
    Status,
)
from shared.events import (
    EnrolmentActivated,
    EnrolmentApproved,
    EnrolmentDeclined,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    Event,
    PersonStatus,
)

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
FORTNIGHT = timedelta(days=14)
ANSWER_BY = datetime(2026, 3, 16, 22, 59, 59, tzinfo=UTC)  # the end of that day in Stockholm
MEMBER = Member(
    UUID(int=1),
    UUID(int=3),
    UUID(int=2),
    manager_is_active=True,
    status=PersonStatus.active,
    time_zone="Europe/Stockholm",
)
COHORT = Cohort(UUID(int=5), UUID(int=4), 1, "Spring", 40, None, date(2026, 3, 2), date(2026, 6, 12), CohortStatus.open)
REQUESTED = Enrolment(UUID(int=6), UUID(int=1), UUID(int=5), UUID(int=4), Status.requested, NOW, ANSWER_BY)
ROOM = Places(capacity=40, taken=39, waiting=0, approvals=39)
FULL = Places(capacity=40, taken=40, waiting=7, approvals=47)


def ask(cohort: Cohort = COHORT, member: Member = MEMBER, *, is_in_unit: bool = True) -> tuple[Enrolment, list[Event]]:
    return domain.request(UUID(int=6), member, cohort, is_in_unit=is_in_unit, now=NOW, answer_within=FORTNIGHT)


def test_a_request_says_by_when_it_must_be_answered() -> None:
    enrolment, [event] = ask()
    assert enrolment == REQUESTED
    assert isinstance(event, EnrolmentRequested)
    assert event.approve_before == ANSWER_BY
    assert (event.unit_id, event.manager_id) == (MEMBER.unit_id, MEMBER.manager_id)


@pytest.mark.parametrize("status", [CohortStatus.planned, CohortStatus.running, CohortStatus.closed])
def test_only_an_open_cohort_takes_requests(status: CohortStatus) -> None:
    with pytest.raises(CohortNotOpenError, match=status):
        ask(replace(COHORT, status=status))


@pytest.mark.parametrize("status", [PersonStatus.on_leave, PersonStatus.inactive])
def test_only_active_people_ask(status: PersonStatus) -> None:
    with pytest.raises(NotActiveError):
        ask(member=replace(MEMBER, status=status))


def test_people_of_another_unit_cannot_ask() -> None:
    with pytest.raises(OtherUnitError):
        ask(is_in_unit=False)


def test_an_approval_gives_a_place_while_there_is_one() -> None:
    active, events = domain.approve(REQUESTED, MEMBER, ROOM)
    assert (active.status, active.approval) == (Status.active, 40)
    assert [type(event) for event in events] == [EnrolmentApproved, EnrolmentActivated]
    assert isinstance(events[1], EnrolmentActivated)
    assert not events[1].promoted


def test_an_approval_in_a_full_cohort_says_the_place_in_the_waiting_list() -> None:
    waiting, events = domain.approve(REQUESTED, MEMBER, FULL)
    assert (waiting.status, waiting.approval) == (Status.waitlisted, 48)
    assert [type(event) for event in events] == [EnrolmentApproved, EnrolmentWaitlisted]
    assert isinstance(events[1], EnrolmentWaitlisted)
    assert events[1].position == 8


def test_who_left_cannot_be_approved_but_declined() -> None:
    gone = replace(MEMBER, status=PersonStatus.inactive)
    with pytest.raises(NotActiveError):
        domain.approve(REQUESTED, gone, ROOM)
    declined, [event] = domain.decline(REQUESTED, gone)
    assert declined.status is Status.declined
    assert isinstance(event, EnrolmentDeclined)


def test_a_decline_does_not_say_whose_it_was() -> None:
    assert MEMBER.manager_id is not None
    _, [event] = domain.decline(REQUESTED, MEMBER)
    assert isinstance(event, EnrolmentDeclined)
    assert event.manager_id is None
    assert (event.person_id, event.unit_id) == (REQUESTED.person_id, MEMBER.unit_id)


CHANGES: dict[str, Callable[[Enrolment], tuple[Enrolment, list[Event]]]] = {
    "approve": lambda enrolment: domain.approve(enrolment, MEMBER, ROOM),
    "decline": lambda enrolment: domain.decline(enrolment, MEMBER),
    "withdraw": lambda enrolment: domain.withdraw(enrolment, MEMBER),
}
POSSIBLE = {
    ("requested", "approve"), ("requested", "decline"),
    ("requested", "withdraw"), ("waitlisted", "withdraw"), ("active", "withdraw"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("status", Status)
def test_every_other_change_is_refused_naming_state_and_possibilities(status: Status, change: str) -> None:
    enrolment = replace(REQUESTED, status=status)
    if (status.value, change) in POSSIBLE:
        assert CHANGES[change](enrolment)[0].status is not status
        return
    with pytest.raises(CannotChangeError, match=f"The enrolment is {status}; '{change}'") as refused:
        CHANGES[change](enrolment)
    assert refused.value.remedy
    for possible in domain.POSSIBLE[status]:
        assert possible in refused.value.remedy


def test_withdrawing_and_expiring_tell_the_unit_of_today() -> None:
    moved = replace(MEMBER, unit_id=UUID(int=33), manager_id=None)
    for change, fact in ((domain.withdraw, EnrolmentWithdrawn), (domain.expire, EnrolmentExpired)):
        _, [event] = change(REQUESTED, moved)
        assert type(event) is fact
        assert (event.unit, event.programme) == (UUID(int=33), COHORT.programme_id)


def waiting(*people: tuple[int, PersonStatus]) -> list[tuple[Enrolment, Member]]:
    return [
        (
            replace(REQUESTED, id=UUID(int=100 + nth), person_id=UUID(int=nth), status=Status.waitlisted, approval=nth),
            replace(MEMBER, person_id=UUID(int=nth), status=status),
        )
        for nth, status in people
    ]


def test_free_places_go_to_who_waited_longest_passing_over_who_left() -> None:
    line = waiting((41, PersonStatus.inactive), (42, PersonStatus.on_leave), (43, PersonStatus.active))
    promoted, events = domain.promote(line, COHORT, ROOM)
    assert [(each.person_id.int, each.status) for each in promoted] == [(42, Status.active)]
    assert [event.promoted for event in events if isinstance(event, EnrolmentActivated)] == [True]


@pytest.mark.parametrize("status", [CohortStatus.planned, CohortStatus.closed])
def test_nobody_is_promoted_into_a_cohort_that_is_over(status: CohortStatus) -> None:
    assert domain.promote(waiting((41, PersonStatus.active)), replace(COHORT, status=status), ROOM) == ([], [])


def test_nobody_is_promoted_beyond_capacity() -> None:
    assert domain.promote(waiting((41, PersonStatus.active)), COHORT, FULL) == ([], [])


@pytest.mark.parametrize(
    ("manager_id", "is_active", "has_manager"),
    [(UUID(int=2), True, True), (UUID(int=2), False, False), (None, False, False)],
)
def test_a_manager_who_left_is_no_manager(manager_id: UUID | None, is_active: bool, has_manager: bool) -> None:
    assert replace(MEMBER, manager_id=manager_id, manager_is_active=is_active).has_manager is has_manager
