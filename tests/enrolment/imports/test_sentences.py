"""What an import says: every sentence that the code names has words, in both languages."""

import re
from pathlib import Path

import pytest

import services.enrolment.imports
from services.enrolment.imports.columns import REQUIRED
from services.enrolment.imports.sentences import Phrase, Sentence
from shared.web.texts import Texts

HOUSE = Path(services.enrolment.imports.__file__).parent
_CALL = re.compile(r'(Sentence|UnusableValueError|FileRefusedError|Phrase)\(\s*"([a-z_.]+)"')
NAMED = sorted(
    {
        (kind, key)
        for path in HOUSE.glob("*.py")
        for kind, key in re.findall(
            r'(Sentence|UnusableValueError|FileRefusedError|Phrase)\(\s*"([a-z_.]+)"', path.read_text()
        )
    }
)
TEXTS = Texts.load([HOUSE / "texts.toml"])


@pytest.mark.parametrize(("kind", "key"), NAMED)
def test_every_sentence_that_the_code_names_has_words(kind: str, key: str) -> None:
    parts = [f"told.{key}"] if kind == "Phrase" else [f"told.{key}.detail", f"told.{key}.remedy"]
    assert [part for part in parts if part not in TEXTS] == []


def test_the_code_names_more_than_a_few() -> None:
    assert len(NAMED) > 35


@pytest.mark.parametrize("field", REQUIRED)
def test_every_column_that_is_needed_has_a_name_in_words(field: str) -> None:
    assert field in Phrase(f"needed.{field}").say("sv")


def test_a_number_is_written_as_the_language_does_and_a_part_is_said_in_it_too() -> None:
    sentence = Sentence("duplicate_columns.unused", {"columns": Phrase("and_more", {"some": "1 (A)", "more": 12000})})
    assert "Columns 1 (A) and 12,000 more have" in sentence.detail()
    assert "Kolumnerna 1 (A) och 12\N{NO-BREAK SPACE}000 till har" in sentence.detail("sv")
