import random
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.rounds.domain import (
    Chosen,
    Colleague,
    Count,
    NotOpened,
    Respondent,
    Round,
    Surroundings,
    TeamMember,
    choose_respondents,
    ended_since,
    is_complete,
    is_small_team,
    new_bucket,
    next_tick,
    plan_round,
)
from shared.events import MOST_PEERS, Bucket, FeedbackPlan, Group, MilestoneReached, PersonStatus, Practice
from shared.ids import new_id

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
EVERYBODY = (Group.self, Group.manager, Group.peer, Group.led)
UNIT, MANAGER = new_id(), new_id()
ZONE = "Europe/Stockholm"


def colleague(*, status: PersonStatus = PersonStatus.active, address: bool = True) -> Colleague:
    return Colleague(new_id(), status, address, ZONE)


def crowd(number: int, *, lost: int = 0) -> list[TeamMember]:
    """So many who have long been there; `lost` of them cannot be reached any more."""
    return [TeamMember(new_id(), reachable=nth >= lost) for nth in range(number)]


def around(*, team: int = 0, unit: int = 0, led: int = 0, lost: int = 0) -> Surroundings:
    subject = colleague()
    manager = Colleague(MANAGER, PersonStatus.active, has_address=True, time_zone=ZONE)
    reports = crowd(led)
    same_manager = [TeamMember(subject.id, reachable=True), *crowd(team, lost=lost)]
    same_unit = [TeamMember(MANAGER, reachable=True), *same_manager, *reports, *crowd(unit)]
    return Surroundings(subject, manager, same_manager, same_unit, reports)


def choose(places: Surroundings, groups: tuple[Group, ...] = EVERYBODY, k: int = 5) -> list[Respondent]:
    return list(choose_respondents(places, groups, k=k, rng=random.Random(1)).people)


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


def plan(
    asked: Chosen,
    event: MilestoneReached | None = None,
    *,
    resting: Collection[Practice] = (),
    time_zone: str = ZONE,
    k: int = 5,
) -> tuple[Round, NotOpened | None]:
    event = event or reached()
    assert event.feedback is not None
    return plan_round(
        event, event.feedback, new_id(), asked, resting=resting, time_zone=time_zone, k=k, version=1, now=NOW
    )


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


def test_a_manager_who_is_away_is_not_asked() -> None:
    places = around(team=5)
    away = replace(places, manager=colleague(status=PersonStatus.on_leave))
    assert people(choose(away), Group.manager) == set()
    assert len(people(choose(away), Group.peer)) == 5


@given(st.integers(5, 30), st.integers(0, 30), st.integers(5, 8))
def test_a_team_that_lost_too_many_is_not_narrowed_to_those_who_remain(team: int, lost: int, k: int) -> None:
    lost = min(lost, team)
    places = around(team=team, unit=40, lost=lost)
    chosen = choose_respondents(places, EVERYBODY, k=k, rng=random.Random(1))
    pool = places.team if team >= k else (*places.team, *places.unit)
    asked = people(list(chosen.people), Group.peer)
    if chosen.obstacle is NotOpened.team_changed:
        assert asked == set()
        assert lost > 0
    else:
        assert lost * 4 <= len({one.id for one in pool})
        left = {one.id for one in pool if one.reachable} - {places.subject.id, MANAGER}
        assert asked <= left
        assert len(asked) == min(MOST_PEERS, len(left))


def test_those_who_are_led_are_asked_all_or_not_at_all() -> None:
    places = replace(around(), led=crowd(20, lost=6))
    chosen = choose_respondents(places, EVERYBODY, k=5, rng=random.Random(1))
    assert (list(chosen.people), chosen.obstacle) == ([], NotOpened.team_changed)
    assert len(people(choose(replace(places, led=crowd(20, lost=5))), Group.led)) == 15


def test_about_somebody_nobody_has_known_for_long_only_they_themselves_can_be_asked() -> None:
    places = replace(around(team=9), known=False)
    assert choose_respondents(places, EVERYBODY, k=5, rng=random.Random(1)).obstacle is NotOpened.not_known_yet
    assert choose(places, (Group.self,)) == [Respondent(places.subject.id, Group.self)]


def test_nobody_is_asked_about_somebody_who_left() -> None:
    places = around(team=9)
    assert choose(replace(places, subject=colleague(status=PersonStatus.inactive))) == []


def test_somebody_on_leave_who_reaches_a_milestone_is_asked_about_and_asked() -> None:
    places = around(team=9)
    subject = colleague(status=PersonStatus.on_leave)
    away = replace(places, subject=subject)
    assert people(choose(away), Group.self) == {subject.id}
    assert len(people(choose(away), Group.peer)) >= 9


def test_a_team_is_small_when_fewer_than_k_are_in_it_besides_the_subject() -> None:
    subject, others = new_id(), [new_id() for _ in range(5)]
    assert not is_small_team(subject, [subject, *others], 5)
    assert is_small_team(subject, [subject, *others[1:]], 5)


def test_a_higher_k_asks_enough_peers_for_it() -> None:
    assert len(people(choose(around(team=40), k=20), Group.peer)) == 20


def test_the_lot_differs_from_round_to_round() -> None:
    places = around(team=40)
    lots = {
        frozenset(choose_respondents(places, [Group.peer], k=5, rng=random.Random(seed)).people) for seed in range(5)
    }
    assert len(lots) == 5


def test_a_round_locks_k_the_instrument_and_its_end_when_it_opens() -> None:
    asked = Chosen([Respondent(new_id(), Group.peer)])
    planned, obstacle = plan(asked, k=7)
    assert obstacle is None
    assert (planned.k, planned.instrument_version, planned.groups) == (7, 1, (Group.peer,))
    assert planned.opened_at == NOW


@pytest.mark.parametrize(("time_zone", "utc"), [(ZONE, "2026-03-16T22:59:59"), ("Asia/Tokyo", "2026-03-16T14:59:59")])
def test_a_round_ends_when_a_day_of_its_subjects_ends(time_zone: str, utc: str) -> None:
    planned, _ = plan(Chosen([Respondent(new_id(), Group.peer)]), time_zone=time_zone)
    assert planned.closes_at == datetime.fromisoformat(f"{utc}+00:00")


def test_a_practice_that_rests_is_left_out_and_a_round_of_such_alone_is_not_opened() -> None:
    asked = Chosen([Respondent(new_id(), Group.self)])
    both = (Practice.leading_meetings, Practice.improving)
    planned, obstacle = plan(asked, reached(practices=both), resting={Practice.improving})
    assert (planned.practices, obstacle) == ((Practice.leading_meetings,), None)
    planned, obstacle = plan(asked, reached(practices=both), resting=set(both))
    assert (planned.practices, planned.closes_at, obstacle) == (both, NOW, NotOpened.asked_recently)


def test_a_round_that_could_ask_nobody_is_not_opened_and_tells_whom_it_meant_to_ask() -> None:
    planned, obstacle = plan(Chosen(obstacle=NotOpened.nobody_to_ask))
    assert (planned.groups, obstacle) == ((Group.self, Group.peer), NotOpened.nobody_to_ask)


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
    assert not is_complete(Count(Bucket.some, used=6, waiting=0, narrowed=True))


def test_the_count_that_ends_a_round_is_told_to_nobody() -> None:
    assert new_bucket(Count(Bucket.few, used=10, waiting=0)) is None


def test_only_a_later_ending_of_the_same_milestone_or_enrolment_takes_a_milestone_back() -> None:
    event = reached()
    assert ended_since(event, 5, {(event.enrolment_id, "first_meeting"): 6})
    assert ended_since(event, 5, {(event.enrolment_id, ""): 6})
    assert not ended_since(event, 7, {(event.enrolment_id, "first_meeting"): 6})
    assert not ended_since(event, 5, {(event.enrolment_id, "another"): 6, (new_id(), ""): 9})
