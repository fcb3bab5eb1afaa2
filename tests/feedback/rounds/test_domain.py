import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.rounds.domain import (
    MOST_PEERS,
    Colleague,
    Count,
    Respondent,
    Surroundings,
    choose_respondents,
    close_reason,
    ended_since,
    is_complete,
    new_bucket,
    next_tick,
    plan_round,
)
from shared.events import Bucket, CloseReason, FeedbackPlan, Group, MilestoneReached, Practice
from shared.ids import new_id

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
EVERYBODY = (Group.self, Group.manager, Group.peer, Group.led)
UNIT, MANAGER = new_id(), new_id()


def colleague(*, manager: UUID | None = MANAGER, active: bool = True, address: bool = True) -> Colleague:
    return Colleague(new_id(), UNIT, manager, active, address)


def around(*, team: int = 0, unit: int = 0, led: int = 0) -> Surroundings:
    subject = colleague()
    manager = Colleague(MANAGER, UNIT, None, active=True, has_address=True)
    reports = [colleague(manager=subject.id) for _ in range(led)]
    same_manager = [subject] + [colleague() for _ in range(team)]
    same_unit = [manager, *same_manager, *reports] + [colleague(manager=new_id()) for _ in range(unit)]
    return Surroundings(subject, manager, same_manager, same_unit, reports)


def choose(places: Surroundings, groups: tuple[Group, ...] = EVERYBODY, k: int = 5) -> list[Respondent]:
    return choose_respondents(places, groups, k=k, rng=random.Random(1))


def people(respondents: list[Respondent], group: Group) -> set[UUID]:
    return {one.person_id for one in respondents if one.group is group}


def reached(**changes: object) -> MilestoneReached:
    values = {
        "enrolment_id": new_id(), "person_id": new_id(), "cohort_id": new_id(), "programme_id": new_id(),
        "unit_id": UNIT,
        "milestone": "first_meeting", "practices": (Practice.leading_meetings,),
        "feedback": FeedbackPlan(kind="milestone", groups=(Group.self, Group.peer), days_open=14),
    }  # fmt: skip
    return MilestoneReached.model_validate(values | changes)


@given(st.integers(0, 30), st.integers(0, 20), st.integers(0, 20), st.sets(st.sampled_from(EVERYBODY)))
def test_nobody_is_asked_twice_in_vain_or_in_a_group_that_was_not_planned(
    team: int, unit: int, led: int, groups: set[Group]
) -> None:
    chosen = choose(around(team=team, unit=unit, led=led), tuple(groups))
    assert len({one.person_id for one in chosen}) == len(chosen)
    assert {one.group for one in chosen} <= groups
    for group in (Group.peer, Group.led):
        assert len(people(chosen, group)) == 0 or len(people(chosen, group)) >= 5
    assert len(people(chosen, Group.peer)) <= MOST_PEERS


@pytest.mark.parametrize(("team", "asked"), [(4, 0), (5, 5), (12, 12), (13, 12)])
def test_peers_are_those_with_the_same_manager_at_least_k_and_at_most_twelve(team: int, asked: int) -> None:
    places = around(team=team)
    chosen = people(choose(places), Group.peer)
    assert len(chosen) == asked
    assert chosen <= {one.id for one in places.team} - {places.subject.id}


def test_a_small_team_is_filled_up_from_its_unit() -> None:
    places = around(team=2, unit=30)
    chosen = people(choose(places), Group.peer)
    assert len(chosen) == MOST_PEERS
    assert {one.id for one in places.team} - {places.subject.id} < chosen
    assert MANAGER not in chosen


def test_who_is_away_or_has_no_address_is_not_asked() -> None:
    places = around(team=5)
    away = Surroundings(
        places.subject,
        colleague(active=False),
        [*places.team, colleague(active=False), colleague(address=False)],
        [],
        [],
    )
    chosen = choose(away)
    assert people(chosen, Group.manager) == set()
    assert len(people(chosen, Group.peer)) == 5


def test_nobody_is_asked_about_somebody_who_left() -> None:
    places = around(team=9)
    gone = Surroundings(colleague(active=False), places.manager, places.team, places.unit, places.led)
    assert choose(gone) == []


def test_a_higher_k_asks_enough_peers_for_it() -> None:
    assert len(people(choose(around(team=40), k=20), Group.peer)) == 20


def test_the_lot_differs_from_round_to_round() -> None:
    places = around(team=40)
    lots = {frozenset(choose_respondents(places, [Group.peer], k=5, rng=random.Random(seed))) for seed in range(5)}
    assert len(lots) == 5


def test_a_round_locks_k_the_instrument_and_its_end_when_it_opens() -> None:
    asked = [Respondent(new_id(), Group.peer)]
    planned = plan_round(reached(), new_id(), asked, k=7, version=1, now=NOW)
    assert planned is not None
    assert (planned.k, planned.instrument_version, planned.groups) == (7, 1, (Group.peer,))
    assert (planned.opened_at, planned.closes_at) == (NOW, NOW + timedelta(days=14))


def test_no_round_without_a_plan_a_practice_or_anybody_to_ask() -> None:
    asked = [Respondent(new_id(), Group.self)]
    assert plan_round(reached(feedback=None), new_id(), asked, k=5, version=1, now=NOW) is None
    assert plan_round(reached(practices=()), new_id(), asked, k=5, version=1, now=NOW) is None
    assert plan_round(reached(), new_id(), [], k=5, version=1, now=NOW) is None


@given(st.integers(0, 10**15), st.integers(1, 24 * 60))
def test_ticks_lie_on_a_fixed_clock_that_no_answer_moves(microseconds: int, minutes: int) -> None:
    now, every = NOW + timedelta(microseconds=microseconds), timedelta(minutes=minutes)
    tick = next_tick(now, every)
    assert timedelta(0) < tick - now <= every
    assert next_tick(tick - timedelta(microseconds=1), every) == tick
    assert (tick - datetime(1970, 1, 1, tzinfo=UTC)) % every == timedelta(0)


def test_a_count_is_announced_only_when_its_bucket_changed() -> None:
    assert new_bucket(Count(Bucket.none, used=0, waiting=9)) is None
    assert new_bucket(Count(Bucket.none, used=1, waiting=8)) is Bucket.few
    assert new_bucket(Count(Bucket.few, used=4, waiting=5)) is None
    assert new_bucket(Count(Bucket.few, used=5, waiting=4)) is Bucket.some


def test_a_round_is_complete_when_nobody_is_waited_for() -> None:
    assert is_complete(Count(Bucket.some, used=6, waiting=0))
    assert not is_complete(Count(Bucket.some, used=6, waiting=1))


def test_closing_says_whether_time_was_up() -> None:
    assert close_reason(NOW, NOW) is CloseReason.time
    assert close_reason(NOW + timedelta(days=1), NOW) is CloseReason.complete


def test_only_a_later_ending_of_the_same_milestone_or_enrolment_takes_a_milestone_back() -> None:
    event = reached()
    assert ended_since(event, 5, {(event.enrolment_id, "first_meeting"): 6})
    assert ended_since(event, 5, {(event.enrolment_id, ""): 6})
    assert not ended_since(event, 7, {(event.enrolment_id, "first_meeting"): 6})
    assert not ended_since(event, 5, {(event.enrolment_id, "another"): 6, (new_id(), ""): 9})
