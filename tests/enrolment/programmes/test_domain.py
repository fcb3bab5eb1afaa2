"""Programme versions: what a plan must hold, and what may happen to it when."""

from typing import Any
from uuid import UUID

import pytest

from services.enrolment.programmes import domain
from services.enrolment.programmes.domain import NotADraftError, NotPublishedError, Version, WrongPlanError
from shared.events import Milestone, ProgrammePublished, ProgrammeRetired, Title

PROGRAMME = UUID("0198c0de-0000-7000-8000-000000000004")
TITLE = Title(sv="Att leda möten", en="Leading meetings")


def milestone(key: str = "first_meeting", **more: Any) -> Milestone:
    return Milestone.model_validate({"key": key, "title": TITLE, "practices": ["leading_meetings"], **more})


def a_draft(*milestones: Milestone) -> Version:
    return domain.draft(PROGRAMME, 1, TITLE, milestones or [milestone()])


def test_a_draft_may_lack_milestones_but_cannot_be_published_without() -> None:
    empty = domain.draft(PROGRAMME, 1, TITLE, [])
    with pytest.raises(WrongPlanError) as refused:
        domain.publish(empty)
    assert refused.value.field == "milestones"


@pytest.mark.parametrize(
    ("milestones", "field"),
    [
        ([milestone("a"), milestone("b"), milestone("a")], "milestones"),
        ([milestone("a"), milestone("b", practices=[])], "milestones.1.practices"),
        ([milestone("a", practices=["dialogue_decisions", "dialogue_decisions"])], "milestones.0.practices"),
        ([milestone(feedback={"kind": "milestone", "groups": [], "days_open": 14})], "milestones.0.feedback.groups"),
        (
            [milestone(feedback={"kind": "milestone", "groups": ["peer", "peer"], "days_open": 14})],
            "milestones.0.feedback.groups",
        ),
    ],
)
def test_a_wrong_plan_is_refused_and_the_field_named(milestones: list[Milestone], field: str) -> None:
    with pytest.raises(WrongPlanError) as refused:
        domain.draft(PROGRAMME, 1, TITLE, milestones)
    assert refused.value.field == field
    with pytest.raises(WrongPlanError) as refused:
        domain.edit(a_draft(), TITLE, milestones)
    assert refused.value.field == field


def test_publishing_tells_the_whole_plan() -> None:
    planned = [milestone("a", feedback={"kind": "milestone", "groups": ["self", "peer"], "days_open": 14})]
    published, events = domain.publish(a_draft(*planned))
    assert published.status == "published"
    assert events == [ProgrammePublished(programme_id=PROGRAMME, version=1, title=TITLE, milestones=tuple(planned))]


def test_a_published_version_never_changes() -> None:
    published, _ = domain.publish(a_draft())
    with pytest.raises(NotADraftError):
        domain.edit(published, TITLE, [])
    with pytest.raises(NotADraftError):
        domain.publish(published)


def test_only_a_published_version_retires_and_it_retires_once() -> None:
    with pytest.raises(NotPublishedError):
        domain.retire(a_draft())
    retired, events = domain.retire(domain.publish(a_draft())[0])
    assert retired.status == "retired"
    assert events == [ProgrammeRetired(programme_id=PROGRAMME, version=1)]
    with pytest.raises(NotPublishedError):
        domain.retire(retired)
    with pytest.raises(NotADraftError):
        domain.publish(retired)
