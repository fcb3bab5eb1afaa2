from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.instruments.instrument import instrument
from services.feedback.responses.domain import (
    AnswersRefusedError,
    InvitationState,
    Invited,
    LinkRefusedError,
    check_answers,
    from_form,
    must_be_open,
)
from shared.events import Group, Practice
from shared.ids import new_id

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
QUESTIONS = instrument(1).asking([Practice.leading_meetings])
IDS = [question.id for question in QUESTIONS]


def invited(
    state: InvitationState = InvitationState.issued, *, round_open: bool = True, left: timedelta = timedelta(days=1)
) -> Invited:
    return Invited(
        b"",
        new_id(),
        state,
        Group.peer,
        round_open,
        NOW + left,
        (Practice.leading_meetings,),
        1,
        5,
        b"",
        "Anna",
        "Europe/Stockholm",
    )


def test_an_issued_invitation_of_an_open_round_is_admitted() -> None:
    one = invited()
    assert must_be_open(one, NOW) is one


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "unknown"),
        (invited(InvitationState.used), "used"),
        (invited(InvitationState.declined), "declined"),
        (invited(InvitationState.revoked), "revoked"),
        (invited(InvitationState.expired), "expired"),
        (invited(round_open=False), "expired"),
        (invited(left=timedelta(0)), "expired"),
    ],
)
def test_every_other_link_is_refused_with_its_reason(found: Invited | None, reason: str) -> None:
    with pytest.raises(LinkRefusedError) as refused:
        must_be_open(found, NOW)
    assert refused.value.reason == reason


def test_a_rating_or_cannot_judge_answers_a_question() -> None:
    assert check_answers(QUESTIONS, {IDS[0]: 1, IDS[1]: 5, IDS[2]: None}) == {IDS[0]: 1, IDS[1]: 5, IDS[2]: None}


@pytest.mark.parametrize("value", [0, 6, "4", True, 3.0, [], {}])
def test_what_is_not_on_the_scale_is_refused(value: object) -> None:
    with pytest.raises(AnswersRefusedError) as refused:
        check_answers(QUESTIONS, {IDS[0]: value, IDS[1]: 5, IDS[2]: None})
    assert [(fault.question_id, fault.code) for fault in refused.value.faults] == [(IDS[0], "off_scale")]


def test_every_missing_and_every_unknown_question_is_named() -> None:
    with pytest.raises(AnswersRefusedError) as refused:
        check_answers(QUESTIONS, {IDS[1]: 2, "improving.1": 3})
    assert {(fault.question_id, fault.code) for fault in refused.value.faults} == {
        (IDS[0], "missing"), (IDS[2], "missing"), ("improving.1", "unknown_question"),
    }  # fmt: skip


@given(st.dictionaries(st.sampled_from([*IDS, "other"]), st.none() | st.integers() | st.text()))
def test_answers_are_taken_whole_or_refused_without_repeating_them(given_: dict[str, object]) -> None:
    try:
        taken = check_answers(QUESTIONS, given_)
    except AnswersRefusedError as refused:
        named = {fault.question_id for fault in refused.faults}
        assert named <= {*IDS, "other"}
    else:
        assert list(taken) == IDS
        assert taken == given_


def test_form_fields_read_like_json() -> None:
    assert from_form({"a": "4", "b": "none", "c": "04", "d": "²"}) == {"a": 4, "b": None, "c": "04", "d": "²"}
