"""Results: figures per practice and respondent group, and what of them may be shown.

What keeps an answer from being worked out of a report:
- a group is hidden whole when fewer than k of it answered, and so is a cell in which fewer than k gave a rating; of a
  hidden figure not even n is kept;
- no figure spans two practices or two groups, so that nothing can be subtracted from anything;
- a mean at either end of the scale is shown as "at least" or "at most", and an interval is never narrower than a
  standard deviation of LEAST_DEVIATION allows, so that a unanimous group does not show what everybody in it said.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev
from typing import Final, Literal

from services.feedback.ballots.sealing import ATTRIBUTABLE, Ballot
from services.feedback.instruments.instrument import HIGHEST, LOWEST, Question
from shared.events import Group, Practice

PURPOSE: Final = "development only"

CEILING, FLOOR = Decimal("4.8"), Decimal("1.2")
LEAST_DEVIATION = 0.5

METHOD = (
    "Each respondent's score on a practice is the mean of their ratings of its questions (1 never, 5 almost always; "
    '"cannot judge" left out). A figure is the mean of the scores, with the 95 % interval of Student\'s t, computed '
    "with a standard deviation of at least 0.5 and cut at the ends of the scale. Figures are rounded to one decimal; a "
    'group\'s mean at or above 4.8 is given as "at least 4.8", at or below 1.2 as "at most 1.2". One person\'s figure '
    "has no interval."
)

# Two-sided 95 % quantiles of Student's t for 4 to 30 degrees of freedom; above, that of 30 errs to the wide side.
_T = (
    2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
    2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class CellState(StrEnum):
    released = "released"
    suppressed = "suppressed"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a round's report. Figures are points on the scale; None where hidden, or (interval) not defined.

    at_limit: `ceiling` means that the mean is at least CEILING, `floor` that it is at most FLOOR.
    """

    practice: Practice
    group: Group
    state: CellState
    n: int | None = None
    mean: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    at_limit: Literal["floor", "ceiling"] | None = None


@dataclass(frozen=True, slots=True)
class PracticeRatings:
    """What one respondent rated on one practice, cut loose from the rest of their ballot."""

    group: Group
    practice: Practice
    ratings: Mapping[str, int]


def hidden_because(cell: Cell) -> Literal["fewer_than_k", "no_answer"] | None:
    """Why a figure is hidden, in words that tell nothing about how many there were."""
    if cell.state is CellState.released:
        return None
    return "no_answer" if cell.group in ATTRIBUTABLE else "fewer_than_k"


def split_by_practice(ballots: Iterable[Ballot], questions: Sequence[Question]) -> list[PracticeRatings]:
    """Ballots taken apart by practice; "cannot judge" leaves nothing behind."""
    sheets: list[PracticeRatings] = []
    for ballot in ballots:
        by_practice: dict[Practice, dict[str, int]] = defaultdict(dict)
        for question in questions:
            rating = ballot.answers.get(question.id)
            if rating is not None:
                by_practice[question.practice][question.id] = rating
        sheets += [PracticeRatings(ballot.group, practice, ratings) for practice, ratings in by_practice.items()]
    return sheets


def report(
    ballots: Sequence[Ballot],
    questions: Sequence[Question],
    practices: Sequence[Practice],
    groups: Sequence[Group],
    k: int,
) -> list[Cell]:
    """One cell per practice and group that was asked."""
    answered = {group: sum(ballot.group is group for ballot in ballots) for group in groups}
    scores: dict[tuple[Practice, Group], list[float]] = defaultdict(list)
    for sheet in split_by_practice(ballots, questions):
        scores[sheet.practice, sheet.group].append(fmean(sheet.ratings.values()))
    return [
        _cell(practice, group, scores[practice, group], answered[group], k)
        for practice in practices
        for group in groups
    ]


def worth_releasing(cells: Sequence[Cell]) -> bool:
    """Whether the report says what it was asked for: more than the co-leader's own view, unless only that was asked."""
    asked = {cell.group for cell in cells}
    shown = {cell.group for cell in cells if cell.state is CellState.released}
    return bool(shown & (asked - {Group.self} or asked))


def _cell(practice: Practice, group: Group, scores: Sequence[float], answered: int, k: int) -> Cell:
    needed = _needed(group, k)
    if answered < needed or len(scores) < needed:
        return Cell(practice, group, CellState.suppressed)
    mean = fmean(scores)
    if group in ATTRIBUTABLE:
        return Cell(practice, group, CellState.released, len(scores), _round(mean))
    if _round(mean) >= CEILING:
        return Cell(practice, group, CellState.released, len(scores), CEILING, CEILING, Decimal(HIGHEST), "ceiling")
    if _round(mean) <= FLOOR:
        return Cell(practice, group, CellState.released, len(scores), FLOOR, Decimal(LOWEST), FLOOR, "floor")
    half = _half_width(scores)
    low, high = _round(max(LOWEST, mean - half)), _round(min(HIGHEST, mean + half))
    return Cell(practice, group, CellState.released, len(scores), _round(mean), low, high)


def _needed(group: Group, k: int) -> int:
    return 1 if group in ATTRIBUTABLE else k


def _half_width(scores: Sequence[float]) -> float:
    quantile = _T[min(len(scores) - 5, len(_T) - 1)]
    return quantile * max(stdev(scores), LEAST_DEVIATION) / sqrt(len(scores))


def _round(value: float) -> Decimal:
    return Decimal(str(round(value, 6))).quantize(Decimal("0.1"), ROUND_HALF_UP)
