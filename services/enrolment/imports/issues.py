"""What is to be put right in a file: all of it counted, and only as much of it kept as a report tells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from services.enrolment.imports.sentences import Sentence

Severity = Literal["error", "warning"]

MOST_KEPT = 500
"""Of each severity, those that stand first in the file: one of nothing but faults takes no more memory than others."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something in the file to put right: where it stands, what is wrong, what was done, what to do."""

    severity: Severity
    line: int
    column: str | None
    employee_id: str | None
    sentence: Sentence

    @property
    def code(self) -> str:
        return self.sentence.code

    @property
    def detail(self) -> str:
        return self.sentence.detail()

    @property
    def remedy(self) -> str:
        return self.sentence.remedy()


class Issues(Sequence[Issue]):
    """Errors before warnings, each in the order of the file.

    total: how many there are. faulty: the lines with errors.
    """

    def __init__(self) -> None:
        self.faulty: set[int] = set()
        self._kept: dict[Severity, list[Issue]] = {"error": [], "warning": []}
        self._counted: dict[Severity, int] = {"error": 0, "warning": 0}

    @property
    def total(self) -> int:
        return sum(self._counted.values())

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return self._counted["warning"]

    def add(self, *issues: Issue) -> None:
        for issue in issues:
            self._counted[issue.severity] += 1
            if issue.severity == "error":
                self.faulty.add(issue.line)
            self._keep(issue)

    def take(self, others: "Issues") -> None:
        """Add what was found elsewhere."""
        for severity, count in others._counted.items():
            self._counted[severity] += count
        self.faulty |= others.faulty
        for issue in others:
            self._keep(issue)

    def _keep(self, issue: Issue) -> None:
        kept = self._kept[issue.severity]
        kept.append(issue)
        if len(kept) >= 2 * MOST_KEPT:
            kept.sort(key=lambda one: one.line)
            del kept[MOST_KEPT:]

    def _in_order(self) -> list[Issue]:
        return [issue for kept in self._kept.values() for issue in sorted(kept, key=lambda one: one.line)[:MOST_KEPT]]

    def __iter__(self) -> Iterator[Issue]:
        return iter(self._in_order())

    def __len__(self) -> int:
        return len(self._in_order())

    @overload
    def __getitem__(self, index: int) -> Issue: ...
    @overload
    def __getitem__(self, index: slice) -> list[Issue]: ...
    def __getitem__(self, index: int | slice) -> Issue | list[Issue]:
        return self._in_order()[index]
