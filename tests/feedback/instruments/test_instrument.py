import hashlib
from collections import Counter
from importlib.resources import files

import pytest

from services.feedback.instruments.instrument import LATEST_VERSION, instrument
from shared.events import Practice

# A published version never changes: rounds were asked with it. A new wording is a new file and a new line here.
PUBLISHED = {1: "d9ac8c401d6b07087e993922aa02e5e0708cef5b55d23c1e210e7893cd485aac"}


@pytest.mark.parametrize("version", range(1, LATEST_VERSION + 1))
def test_a_published_instrument_has_not_been_touched(version: int) -> None:
    content = (files("services.feedback.instruments") / f"{version}.toml").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED[version]


def test_every_practice_has_at_least_two_questions_in_both_languages() -> None:
    questions = instrument(LATEST_VERSION).questions
    per_practice = Counter(question.practice for question in questions)
    assert set(per_practice) == set(Practice)
    assert min(per_practice.values()) >= 2, "one question per practice would make unanimous figures readable"
    for question in questions:
        assert question.in_language("sv") != question.in_language("en")
        assert question.in_language("de") == question.in_language("en")
        assert question.id.startswith(f"{question.practice}.")


def test_ids_and_wordings_are_each_used_once() -> None:
    questions = instrument(LATEST_VERSION).questions
    for used in (
        {question.id for question in questions},
        {question.in_language("sv") for question in questions},
        {question.in_language("en") for question in questions},
    ):
        assert len(used) == len(questions)


def test_a_round_is_asked_about_its_own_practices_only() -> None:
    asked = instrument(1).asking([Practice.leading_meetings, Practice.improving])
    assert {question.practice for question in asked} == {Practice.leading_meetings, Practice.improving}


def test_an_instrument_that_never_was_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        instrument(LATEST_VERSION + 1)
