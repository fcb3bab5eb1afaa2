"""What an import says to people: sentences with their values, said in English in reports and in a reader's language on
pages. Their words are in texts.toml, under `told`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from shared.web.texts import Texts


@dataclass(frozen=True, slots=True)
class Phrase:
    """Part of a sentence that is said differently in each language; its values are said as they are."""

    key: str
    values: Mapping[str, str | int] = field(default_factory=dict)

    def say(self, language: str) -> str:
        values = {name: _said(value, language) for name, value in self.values.items()}
        return _texts().get(f"told.{self.key}", language, **values)


Value = str | int | Phrase | tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is wrong (`detail`) and what to do (`remedy`). The code is its key up to the first dot."""

    key: str
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def code(self) -> str:
        return self.key.partition(".")[0]

    def detail(self, language: str = "en") -> str:
        return self._say("detail", language)

    def remedy(self, language: str = "en") -> str:
        return self._say("remedy", language)

    def _say(self, part: str, language: str) -> str:
        values = {name: _said(value, language) for name, value in self.values.items()}
        return _texts().get(f"told.{self.key}.{part}", language, **values)


def _said(value: Value, language: str) -> str:
    """Numbers with thousands apart, as the language has it; a number that names something comes as text."""
    if isinstance(value, int):
        return f"{value:,}" if language == "en" else f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")
    if isinstance(value, Phrase):
        return value.say(language)
    return value if isinstance(value, str) else "; ".join(phrase.say(language) for phrase in value)


@cache
def _texts() -> Texts:
    return Texts.load([Path(__file__).with_name("texts.toml")])
