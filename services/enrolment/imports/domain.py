"""The rules of an import: how many may leave at once, when who joins is known already, what is much of a team."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from services.enrolment.imports.refusal import FileRefusedError
from shared.events import PersonStatus


class Known(NamedTuple):
    """What is known of a person of this source before the import."""

    status: PersonStatus
    email: str | None
    manager: str | None  # the manager's employee id
    login: str | None


@dataclass(frozen=True, slots=True)
class Cap:
    """How many of a source's people one import may deactivate: a share of those active before, or a number."""

    percent: float | None = None
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Cap":
        """`10%`, `12.5 %` or `40`. Raises ValueError for anything else."""
        match = re.fullmatch(r"\s*(\d{1,9}(?:[.,]\d{1,6})?)\s*(%?)\s*", text)
        if match is None or (not match[2] and not match[1].isdigit()):
            raise ValueError("give a share such as 10% or a number of people such as 40")
        if not match[2]:
            return cls(number=int(match[1]))
        percent = float(match[1].replace(",", "."))
        if percent > 100:
            raise ValueError("a share is at most 100%")
        return cls(percent=percent)

    def allows(self, active: int) -> int:
        """The largest number that may leave of `active` people."""
        return self.number if self.number is not None else int(active * (self.percent or 0) / 100 + 1e-9)

    def judge(self, leaving: int, active: int) -> None:
        """Raises FileRefusedError when `leaving` of `active` people are more than this cap allows."""
        allowed = self.allows(active)
        if leaving <= allowed:
            return
        share = f" ({self.percent:g} %)" if self.number is None else ""
        raise FileRefusedError(
            "deactivation_cap", leaving=leaving, active=active, share=f"{leaving / active * 100:.1f} %",
            allowed=allowed, allowed_share=share, enough=str(leaving),
        )  # fmt: skip


# The programme office is told of a team when at least so many of it changed lately, and at least one in so many of the
# fewer there were before or are after. What changes less leaves most of those a round would ask (ADR 0004).
FEWEST_CHANGED = 4
SHARE = 3
LATELY = timedelta(hours=24)

_A_HANDFUL = 5  # people whom two sources may share without anybody having mixed up the sources


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of those who join have the login, address or employee id of an active person of another source."""

    source: str
    alike: int
    joining: int

    def judge(self) -> None:
        """Raises FileRefusedError when they are most of those who join: the file is another source's."""
        if self.alike < _A_HANDFUL or self.alike * 2 < self.joining:
            return
        raise FileRefusedError("known_elsewhere", alike=self.alike, joining=self.joining, source=self.source)
