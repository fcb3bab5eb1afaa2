"""The events as classes: registered, frozen, strict for producers, lenient for consumers."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from shared.events import (
    REGISTRY,
    AccessState,
    Bucket,
    EnrolmentActivated,
    EnrolmentRequested,
    Event,
    FeedbackPlan,
    Group,
    InvitationIssued,
    MilestoneReached,
    Practice,
    Role,
)
from shared.events.contract.schema import example_of
from shared.events.topics import load_topics
from shared.ids import new_id

EVENTS = pytest.mark.parametrize("event", REGISTRY.values(), ids=REGISTRY)


def enrolment(**changes: Any) -> dict[str, Any]:
    ids = ("enrolment_id", "person_id", "cohort_id", "programme_id", "unit_id")
    return {name: new_id() for name in ids} | changes


@EVENTS
def test_a_type_names_its_namespace_subject_fact_and_version(event: type[Event]) -> None:
    assert re.fullmatch(r"medled\.[a-z_]+\.[a-z_]+\.v\d+", event.type)
    assert REGISTRY[event.type] is event


@EVENTS
def test_an_event_belongs_to_a_declared_topic_of_the_same_kind(event: type[Event]) -> None:
    topic = load_topics()[event.topic]
    assert (topic.compacted, topic.restricted) == (event.compacted, event.restricted)


@EVENTS
def test_an_event_survives_its_encoding(event: type[Event]) -> None:
    example = example_of(event)
    assert event.decode(example.encode()) == example
    assert example.key
    assert example.subject


@EVENTS
def test_an_event_cannot_be_changed(event: type[Event]) -> None:
    example = example_of(event)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(example, next(iter(event.model_fields)), None)


def test_a_producer_may_not_send_a_field_that_is_not_defined() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        EnrolmentActivated(**enrolment(promoted=False, nickname="x"))


def test_a_consumer_ignores_fields_it_does_not_know_at_every_depth() -> None:
    plan = FeedbackPlan(kind="milestone", groups=(Group.peer,), days_open=14)
    event = MilestoneReached(**enrolment(milestone="m1", practices=(Practice.improving,), feedback=plan))
    newer = event.encode().replace(b'"days_open":14', b'"days_open":14,"weight":2').replace(b"{", b'{"mood":"x",', 1)
    assert MilestoneReached.decode(newer) == event


@pytest.mark.parametrize(
    "wrong",
    [{"unit_id": "0198c0de-0000-7000-8000-000000000001"}, {"promoted": "yes"}, {"promoted": 1}, {"cohort_id": None}],
)
def test_a_producer_must_give_the_exact_type(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EnrolmentActivated(**enrolment(**{"promoted": False, **wrong}))


def test_a_refusal_does_not_quote_what_was_refused() -> None:
    with pytest.raises(ValidationError) as refusal:
        EnrolmentActivated(**enrolment(promoted="Anna Berg"))
    assert "Anna" not in str(refusal.value)


def test_times_must_be_aware_and_become_utc() -> None:
    local = datetime(2026, 3, 2, 9, tzinfo=timezone(timedelta(hours=1)))
    event = EnrolmentRequested(**enrolment(approve_before=local))
    assert event.approve_before.tzinfo is UTC
    assert b'"approve_before":"2026-03-02T08:00:00Z"' in event.encode()
    with pytest.raises(ValidationError):
        EnrolmentRequested(**enrolment(approve_before=datetime(2026, 3, 2, 9)))  # noqa: DTZ001 - what it must refuse


def test_values_of_a_closed_set_may_be_given_plainly_and_lists_become_tuples() -> None:
    event = MilestoneReached(**enrolment(milestone="m1", practices=["improving"]))
    assert event.practices == (Practice.improving,)
    with pytest.raises(ValidationError):
        MilestoneReached(**enrolment(milestone="m1", practices=["golf"]))


def test_roles_that_this_version_does_not_know_are_carried() -> None:
    unit = new_id()
    roles = {Role.operator: None, "librarian": (unit,)}
    event = AccessState(principal="machine:1", kind="machine", name="A", roles=roles)  # type: ignore[arg-type]
    assert AccessState.decode(event.encode()).roles == {"operator": None, "librarian": (unit,)}


def test_unit_and_programme_are_taken_from_the_event() -> None:
    event = EnrolmentActivated(**enrolment(promoted=True))
    assert (event.unit, event.programme) == (event.unit_id, event.programme_id)
    access = example_of(AccessState)
    assert (access.unit, access.programme) == (None, None)


def test_invitations_keep_their_order_per_round_and_are_counted_each_by_itself() -> None:
    event = example_of(InvitationIssued)
    assert isinstance(event, InvitationIssued)
    assert event.key == str(event.round_id)
    assert event.subject == str(event.invitation_id)


@pytest.mark.parametrize(
    ("answers", "bucket"), [(0, "0"), (1, "1-4"), (4, "1-4"), (5, "5-9"), (9, "5-9"), (10, "10+"), (500, "10+")]
)
def test_answers_are_counted_in_buckets(answers: int, bucket: str) -> None:
    assert Bucket.of(answers) == bucket


def test_one_type_has_one_definition() -> None:
    with pytest.raises(TypeError, match="already taken"):

        class Again(EnrolmentActivated, type="medled.enrolment.activated.v1"):
            pass


def test_an_event_without_its_subject_is_refused_when_it_is_defined() -> None:
    with pytest.raises(TypeError, match="subject or key"):

        class Lost(Event, type="medled.lost.found.v1", topic="t", source="/medled/x", subject="lost_id"):
            found_id: UUID

    assert "medled.lost.found.v1" not in REGISTRY


def test_ids_are_unique_and_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert {id_.version for id_ in ids} == {7}
