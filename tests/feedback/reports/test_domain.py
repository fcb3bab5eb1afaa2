from collections import defaultdict
from decimal import Decimal
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.ballots.sealing import Ballot
from services.feedback.instruments.instrument import Question, instrument
from services.feedback.reports.domain import Cell, CellState, report, split_by_practice, worth_releasing
from shared.events import Group, Practice

MEETINGS, IMPROVING = Practice.leading_meetings, Practice.improving
PRACTICES = (MEETINGS, IMPROVING)
QUESTIONS = instrument(1).asking(PRACTICES)
HIDDEN = (Group.peer, Group.led, Group.customer)


def ballot(group: Group, rating: int | None = 4, **other: int | None) -> Ballot:
    """One rating for every question, unless `other` gives a practice another one."""
    return Ballot(group, {question.id: other.get(question.practice, rating) for question in QUESTIONS})


def cells(ballots: list[Ballot], groups: tuple[Group, ...] = (Group.peer,), k: int = 5) -> dict[tuple[str, str], Cell]:
    made = report(ballots, QUESTIONS, PRACTICES, groups, k)
    assert len(made) == len(PRACTICES) * len(groups)
    return {(cell.practice, cell.group): cell for cell in made}


@pytest.mark.parametrize("group", HIDDEN)
@pytest.mark.parametrize(("k", "answers"), [(5, 4), (5, 5), (5, 6), (8, 7), (8, 8), (8, 9)])
def test_a_group_shows_from_k_answers_on_and_not_one_before(group: Group, k: int, answers: int) -> None:
    cell = cells([ballot(group) for _ in range(answers)], (group,), k)[MEETINGS, group]
    if answers < k:
        assert cell == Cell(MEETINGS, group, CellState.suppressed)
    else:
        assert (cell.state, cell.n, cell.mean) == (CellState.released, answers, Decimal("4.0"))


def test_a_practice_that_fewer_than_k_could_judge_is_hidden_though_its_group_is_not() -> None:
    made = cells([ballot(Group.peer), *[ballot(Group.peer, improving=None) for _ in range(5)]])
    assert made[MEETINGS, Group.peer].n == 6
    assert made[IMPROVING, Group.peer] == Cell(IMPROVING, Group.peer, CellState.suppressed)


def test_self_and_manager_are_shown_alone_and_without_an_interval() -> None:
    groups = (Group.self, Group.manager)
    made = cells([ballot(Group.self, 5), ballot(Group.manager, 2)], groups)
    assert made[MEETINGS, Group.self] == Cell(MEETINGS, Group.self, CellState.released, 1, Decimal("5.0"))
    assert made[MEETINGS, Group.manager] == Cell(MEETINGS, Group.manager, CellState.released, 1, Decimal("2.0"))


def test_a_group_that_was_asked_and_said_nothing_is_hidden_like_one_that_said_little() -> None:
    groups = (Group.self, Group.peer)
    silent, few = cells([ballot(Group.self)], groups), cells([ballot(Group.self), ballot(Group.peer)], groups)
    assert silent == few


def test_a_known_group_gives_the_interval_of_students_t() -> None:
    made = cells([ballot(Group.peer, rating) for rating in (2, 3, 3, 4, 5)])[MEETINGS, Group.peer]
    # mean 3.4, standard deviation 1.140, t(4) = 2.776: 3.4 +- 1.416
    assert (made.mean, made.low, made.high) == (Decimal("3.4"), Decimal("2.0"), Decimal("4.8"))


def test_intervals_get_narrower_with_more_answers_and_stay_on_the_scale() -> None:
    widths = []
    for times in (1, 4, 20):
        cell = cells([ballot(Group.peer, rating) for rating in (2, 3, 3, 4, 5) * times])[MEETINGS, Group.peer]
        assert cell.low is not None
        assert cell.high is not None
        widths.append(cell.high - cell.low)
    assert widths == sorted(widths, reverse=True)


@given(st.lists(st.tuples(st.sampled_from(Group), st.integers(1, 5) | st.none()), max_size=40))
def test_no_report_shows_a_group_of_fewer_than_k_or_leaves_the_scale(rows: list[tuple[Group, int | None]]) -> None:
    ballots = [ballot(group, rating) for group, rating in rows]
    for cell in report(ballots, QUESTIONS, PRACTICES, tuple(Group), 5):
        if cell.state is CellState.suppressed:
            assert (cell.n, cell.mean, cell.low, cell.high, cell.at_limit) == (None,) * 5
            continue
        assert cell.n is not None
        assert cell.mean is not None
        assert cell.n >= (5 if cell.group in HIDDEN else 1)
        figures = [figure for figure in (cell.low, cell.mean, cell.high) if figure is not None]
        assert figures == sorted(figures)
        assert 1 <= figures[0] <= figures[-1] <= 5


def test_a_round_with_nothing_but_its_subjects_own_view_is_withheld() -> None:
    groups = (Group.self, Group.manager, Group.peer)
    peers = [ballot(Group.peer) for _ in range(4)]
    assert not worth_releasing(report([ballot(Group.self), *peers], QUESTIONS, PRACTICES, groups, 5))
    assert worth_releasing(report([ballot(Group.manager)], QUESTIONS, PRACTICES, groups, 5))
    assert worth_releasing(report([*peers, ballot(Group.peer)], QUESTIONS, PRACTICES, groups, 5))
    assert worth_releasing(report([ballot(Group.self)], QUESTIONS, PRACTICES, (Group.self,), 5))


def test_a_ballot_is_cut_by_practice_and_cannot_judge_leaves_nothing() -> None:
    sheets = split_by_practice([ballot(Group.peer, 3, improving=None)], QUESTIONS)
    assert [(sheet.practice, set(sheet.ratings.values())) for sheet in sheets] == [(MEETINGS, {3})]


# --- the attacker, who has one released report and knows every rule above -------------------------------------------


@pytest.mark.parametrize("questions", [2, 3])
def test_no_figure_of_a_smallest_group_tells_what_anybody_in_it_said(questions: int) -> None:
    """Every way in which k people can answer is tried. If some figure came about in only such ways in which all of them
    gave one and the same score, it would tell everybody's score."""
    asked: tuple[Question, ...] = instrument(1).asking([MEETINGS])[:questions]
    totals = range(questions, 5 * questions + 1)
    explanations: dict[Cell, set[int]] = defaultdict(set)
    for group in combinations_with_replacement(totals, 5):
        ballots = [Ballot(Group.peer, _reaching(total, asked)) for total in group]
        [cell] = report(ballots, asked, [MEETINGS], [Group.peer], 5)
        explanations[cell] |= set(group)
    assert min(len(scores) for scores in explanations.values()) >= 2


def test_nothing_in_a_report_can_be_subtracted_from_anything_else() -> None:
    """Each figure is an equation over its own group's scores on its own practice: as no two share an unknown, no
    combination of them isolates anything smaller than k people."""
    ballots = [ballot(group, 3) for group in Group for _ in range(1 if group in (Group.self, Group.manager) else 6)]
    released = [c for c in report(ballots, QUESTIONS, PRACTICES, tuple(Group), 5) if c.state is CellState.released]
    assert len({(cell.practice, cell.group) for cell in released}) == len(released) == len(PRACTICES) * len(Group)
    assert all(cell.practice in PRACTICES and cell.group in tuple(Group) for cell in released)


def test_positive_control_a_rule_without_the_limits_would_be_broken_by_the_same_attack() -> None:
    asked = instrument(1).asking([MEETINGS])
    explanations: dict[float, set[int]] = defaultdict(set)
    for group in combinations_with_replacement(range(3, 16), 5):
        explanations[round(sum(group) / (5 * len(asked)), 1)] |= set(group)
    assert min(len(scores) for scores in explanations.values()) == 1


def _reaching(total: int, asked: tuple[Question, ...]) -> dict[str, int | None]:
    """Ratings of the asked questions that add up to `total`."""
    ratings: dict[str, int | None] = {}
    for left, question in zip(range(len(asked) - 1, -1, -1), asked, strict=True):
        rating = max(1, min(5, total - left))
        ratings[question.id] = rating
        total -= rating
    return ratings
