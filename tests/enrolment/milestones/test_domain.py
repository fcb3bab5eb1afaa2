"""Milestones: in any order, each step by its rules, and the last one completes."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.enrolment.enrolments.domain import CannotChangeError, Enrolment, EnrolmentAction, Member, Status
from services.enrolment.milestones import domain
from services.enrolment.milestones.domain import Journey, MilestoneStateError, MilestoneStatus, UnknownMilestoneError
from shared.events import (
    EnrolmentCompleted,
    Milestone,
    MilestoneAttested,
    MilestoneReached,
    MilestoneUndone,
    MilestoneWaived,
    PersonStatus,
)

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
TITLE = {"sv": "Ett steg", "en": "A step"}
PLAN = [
    Milestone.model_validate(
        {
            "key": "meeting", "title": TITLE, "practices": ["leading_meetings", "shared_understanding"],
            "feedback": {"kind": "milestone", "groups": ["self", "manager", "peer"], "days_open": 14},
        }
    ),
    Milestone.model_validate({"key": "group", "title": TITLE, "practices": ["forming_groups"]}),
]  # fmt: skip
ACTIVE = Enrolment(UUID(int=6), UUID(int=1), UUID(int=5), UUID(int=4), Status.active, NOW, NOW, 1)
MEMBER = Member(
    UUID(int=1),
    UUID(int=3),
    UUID(int=2),
    manager_is_active=True,
    status=PersonStatus.active,
    time_zone="Europe/Stockholm",
)
START = Journey(ACTIVE, MEMBER, PLAN, {})
STEPS = [EnrolmentAction.reach, EnrolmentAction.attest, EnrolmentAction.waive, EnrolmentAction.undo]


def at(status: MilestoneStatus, enrolment: Status = Status.active) -> Journey:
    return replace(START, enrolment=replace(ACTIVE, status=enrolment), progress={"meeting": status})


def test_reaching_tells_the_practices_and_the_feedback_the_version_plans() -> None:
    moved, [event] = domain.change(START, "meeting", EnrolmentAction.reach)
    assert moved.status_of("meeting") is MilestoneStatus.reached
    assert isinstance(event, MilestoneReached)
    assert event.practices == PLAN[0].practices
    assert event.feedback == PLAN[0].feedback
    assert event.unit_id == MEMBER.unit_id


def test_a_milestone_without_feedback_opens_none() -> None:
    _, [event] = domain.change(START, "group", EnrolmentAction.reach)
    assert isinstance(event, MilestoneReached)
    assert event.feedback is None


ALLOWED = {
    (MilestoneStatus.pending, EnrolmentAction.reach): MilestoneReached,
    (MilestoneStatus.pending, EnrolmentAction.waive): MilestoneWaived,
    (MilestoneStatus.reached, EnrolmentAction.attest): MilestoneAttested,
    (MilestoneStatus.reached, EnrolmentAction.undo): MilestoneUndone,
    (MilestoneStatus.attested, EnrolmentAction.undo): MilestoneUndone,
    (MilestoneStatus.waived, EnrolmentAction.undo): MilestoneUndone,
}


@pytest.mark.parametrize("what", STEPS)
@pytest.mark.parametrize("status", MilestoneStatus)
def test_each_step_follows_its_rules(status: MilestoneStatus, what: EnrolmentAction) -> None:
    journey = at(status)
    fact = ALLOWED.get((status, what))
    if fact is not None:
        assert isinstance(domain.change(journey, "meeting", what)[1][0], fact)
        assert what in domain.possible_for(journey, "meeting")
        return
    with pytest.raises(MilestoneStateError, match=f"The milestone is {status}"):
        domain.change(journey, "meeting", what)
    assert what not in domain.possible_for(journey, "meeting")


@pytest.mark.parametrize("status", set(Status) - {Status.active, Status.completed})
@pytest.mark.parametrize("what", STEPS)
def test_only_an_active_enrolment_has_steps_to_take(status: Status, what: EnrolmentAction) -> None:
    with pytest.raises(CannotChangeError, match=f"The enrolment is {status}"):
        domain.change(at(MilestoneStatus.pending, status), "meeting", what)


@pytest.mark.parametrize("order", [["meeting", "group"], ["group", "meeting"]])
def test_the_last_milestone_completes_whatever_the_order(order: list[str]) -> None:
    halfway, first = domain.change(START, order[0], EnrolmentAction.reach)
    done, last = domain.change(halfway, order[1], EnrolmentAction.waive)
    assert [type(event) for event in first] == [MilestoneReached]
    assert [type(event) for event in last] == [MilestoneWaived, EnrolmentCompleted]
    assert done.enrolment.status is Status.completed


def test_a_completed_enrolment_can_still_be_attested_but_not_undone() -> None:
    done = replace(at(MilestoneStatus.reached, Status.completed), plan=PLAN[:1])
    _, events = domain.change(done, "meeting", EnrolmentAction.attest)
    assert [type(event) for event in events] == [MilestoneAttested]
    with pytest.raises(CannotChangeError, match="completed"):
        domain.change(done, "meeting", EnrolmentAction.undo)


def test_an_undone_milestone_can_be_reached_again() -> None:
    undone, _ = domain.change(at(MilestoneStatus.reached), "meeting", EnrolmentAction.undo)
    assert domain.change(undone, "meeting", EnrolmentAction.reach)[0].status_of("meeting") is MilestoneStatus.reached


def test_an_unknown_milestone_is_said_with_those_there_are() -> None:
    with pytest.raises(UnknownMilestoneError) as refused:
        domain.change(START, "nonsense", EnrolmentAction.reach)
    assert refused.value.remedy == "Its milestones: meeting, group."
