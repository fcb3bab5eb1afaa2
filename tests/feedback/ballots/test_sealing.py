import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import CryptoError

from services.feedback.ballots.sealing import (
    BALLOT_BYTES,
    SEALED_BYTES,
    Ballot,
    BallotTooLargeError,
    new_keys,
    open_all,
    seal,
)
from services.feedback.instruments.instrument import LATEST_VERSION, instrument
from shared.events import Group
from shared.ids import new_id

SECRET = b"the worker's secret, which no database role can read"
QUESTIONS = [question.id for question in instrument(LATEST_VERSION).questions]

ballots = st.builds(
    Ballot,
    group=st.sampled_from(Group),
    answers=st.dictionaries(st.sampled_from(QUESTIONS), st.none() | st.integers(1, 5)),
)


@given(ballot=ballots)
def test_whatever_was_answered_the_sealed_ballot_has_one_size_and_comes_back_whole(ballot: Ballot) -> None:
    round_id = new_id()
    keys = new_keys(round_id, SECRET)
    sealed = seal(keys.public, ballot)
    assert len(sealed) == SEALED_BYTES
    assert open_all(round_id, keys.wrapped, SECRET, [sealed]) == [ballot]


def test_a_ballot_answering_the_whole_instrument_fits_with_room_to_spare() -> None:
    keys = new_keys(new_id(), SECRET)
    assert len(seal(keys.public, Ballot(Group.customer, dict.fromkeys(QUESTIONS)))) == SEALED_BYTES
    longest = sum(len(question) + len('"":null,') for question in QUESTIONS)
    assert longest < 0.8 * BALLOT_BYTES


def test_what_does_not_fit_is_refused_rather_than_recognisable_by_its_size() -> None:
    keys = new_keys(new_id(), SECRET)
    with pytest.raises(BallotTooLargeError):
        seal(keys.public, Ballot(Group.peer, {"x" * BALLOT_BYTES: 3}))


def test_two_equal_ballots_cannot_be_told_to_be_equal() -> None:
    keys = new_keys(new_id(), SECRET)
    ballot = Ballot(Group.peer, {QUESTIONS[0]: 4})
    assert seal(keys.public, ballot) != seal(keys.public, ballot)


@pytest.mark.parametrize("secret", [b"another secret", b""])
def test_without_the_secret_a_round_stays_closed(secret: bytes) -> None:
    round_id = new_id()
    keys = new_keys(round_id, SECRET)
    with pytest.raises(CryptoError):
        open_all(round_id, keys.wrapped, secret, [])


def test_a_key_moved_to_another_round_does_not_open() -> None:
    keys = new_keys(new_id(), SECRET)
    with pytest.raises(CryptoError):
        open_all(new_id(), keys.wrapped, SECRET, [])


def test_a_ballot_of_another_round_does_not_open() -> None:
    round_id = new_id()
    stray = seal(new_keys(new_id(), SECRET).public, Ballot(Group.peer, {}))
    with pytest.raises(CryptoError):
        open_all(round_id, new_keys(round_id, SECRET).wrapped, SECRET, [stray])


def test_opening_forgets_the_order_and_no_seed_brings_it_back() -> None:
    round_id = new_id()
    keys = new_keys(round_id, SECRET)
    sealed = [seal(keys.public, Ballot(Group.peer, {"q": number})) for number in range(50)]

    def order() -> list[int | None]:
        random.seed(1)
        return [ballot.answers["q"] for ballot in open_all(round_id, keys.wrapped, SECRET, sealed)]

    first, second = order(), order()
    assert sorted(first, key=int) == list(range(50))  # type: ignore[arg-type]  # every rating here is a number
    assert len({tuple(first), tuple(second), tuple(range(50))}) == 3
