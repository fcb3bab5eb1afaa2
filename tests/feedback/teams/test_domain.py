from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.feedback.teams.domain import Placement, ReportedPlacement, known_places, placement_changes
from shared.events import PersonStatus
from shared.ids import random_id

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
KNOWN_FOR = timedelta(days=28)
PERSON, UNIT, TRUE, FALSE = random_id(), random_id(), random_id(), random_id()
seconds = st.integers(0, 2 * 28 * 86400)


def standing(manager: UUID, since: datetime | None, until: datetime | None = None) -> Placement:
    return Placement(PERSON, manager, UNIT, PersonStatus.active, b"address", since, until)


def place_of(*standings: Placement, now: datetime = NOW) -> UUID | None:
    return known_places(standings, lambda one: one.manager_id, now=now, known_for=KNOWN_FOR).get(PERSON)


@given(st.sets(seconds, min_size=2, max_size=12))
def test_who_was_elsewhere_for_less_than_the_time_in_all_is_known_where_they_were(moments: set[int]) -> None:
    """An importer's changes: to and fro at any moments of the time that counts."""
    times = [NOW - 2 * KNOWN_FOR + timedelta(seconds=second) for second in sorted(moments)]
    history = [standing(TRUE, None, times[0])]
    away = timedelta(0)
    for nth, (begin, end) in enumerate(zip(times, [*times[1:], NOW], strict=True)):
        history.append(standing(FALSE if nth % 2 == 0 else TRUE, begin, end))
        away += end - begin if nth % 2 == 0 else timedelta(0)
    place = place_of(*history)
    if away < KNOWN_FOR:
        assert place == TRUE
    if away > KNOWN_FOR:
        assert place == FALSE


@given(seconds)
def test_a_newcomer_is_known_from_the_very_day_on(second: int) -> None:
    came = NOW - timedelta(seconds=second)
    assert (place_of(standing(TRUE, came)) == TRUE) == (NOW - came >= KNOWN_FOR)


def test_what_ended_before_the_time_that_counts_counts_no_more() -> None:
    long_ago = NOW - 2 * KNOWN_FOR
    assert place_of(standing(TRUE, None, long_ago - timedelta(days=1)), standing(FALSE, long_ago)) == FALSE
    assert place_of(standing(TRUE, None, long_ago)) is None


def test_two_places_held_equally_long_are_decided_by_no_chance() -> None:
    half = NOW - KNOWN_FOR
    history = [standing(TRUE, None, half), standing(FALSE, half)]
    assert place_of(*history) == place_of(*reversed(history)) == max(TRUE, FALSE, key=str)


def test_a_change_counts_from_when_it_was_made_but_not_from_the_future_nor_from_before_what_it_replaces() -> None:
    held = {PERSON: standing(TRUE, NOW - timedelta(days=9))}
    moved = standing(FALSE, None)
    for at, counts in (
        (NOW - timedelta(days=3), NOW - timedelta(days=3)), (NOW + timedelta(days=3), NOW),
        (NOW - timedelta(days=300), NOW - timedelta(days=9)),
    ):  # fmt: skip
        ended, [begun] = placement_changes([ReportedPlacement(PERSON, moved, at)], held, now=NOW)
        assert (ended, begun.since, begun.manager_id) == ({PERSON: counts}, counts, FALSE)


def test_what_says_the_same_changes_nothing_and_who_is_erased_stands_nowhere() -> None:
    held = {PERSON: standing(TRUE, NOW - timedelta(days=9))}
    assert placement_changes([ReportedPlacement(PERSON, standing(TRUE, None), NOW)], held, now=NOW) == ({}, [])
    assert placement_changes([ReportedPlacement(PERSON, None, NOW)], held, now=NOW) == ({PERSON: NOW}, [])
