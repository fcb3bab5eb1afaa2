"""The instrument: versioned questions per practice, in Swedish and English.

It ships as files rather than as rows: a wording is reviewed, translated and released like code, a published version
never changes, and every round keeps the version it asked with.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from shared.events import Practice

LOWEST, HIGHEST = 1, 5
LATEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Question:
    """One observable behaviour; `id` is stable within a version and names the practice."""

    id: str
    practice: Practice
    text: dict[str, str]

    def in_language(self, language: str) -> str:
        return self.text["sv" if language == "sv" else "en"]


@dataclass(frozen=True, slots=True)
class Instrument:
    version: int
    questions: tuple[Question, ...]

    def asking(self, practices: Collection[Practice]) -> tuple[Question, ...]:
        """The questions on `practices`, in the instrument's order."""
        return tuple(question for question in self.questions if question.practice in practices)


@cache
def instrument(version: int) -> Instrument:
    """The published instrument of that version; raises FileNotFoundError for a version that never was."""
    content = tomllib.loads((files(__package__) / f"{version}.toml").read_text("utf-8"))
    return Instrument(
        content["version"],
        tuple(
            Question(row["id"], Practice(row["practice"]), {"sv": row["sv"], "en": row["en"]})
            for row in content["questions"]
        ),
    )
