"""Texts are complete: in both languages, for every word of ours that a page shows."""

from pathlib import Path

import pytest

from shared.events.vocabulary import Practice
from shared.web.texts import LANGUAGES, Texts, TextsError

SHARED = Path(__file__).parents[3] / "shared" / "web" / "texts.toml"


def test_every_practice_has_its_name_in_both_languages() -> None:
    texts = Texts.load([SHARED])
    names = {(language, texts.get(f"practice.{each}", language)) for each in Practice for language in LANGUAGES}
    assert len(names) == len(Practice) * len(LANGUAGES)


def test_a_text_defined_twice_is_refused(tmp_path: Path) -> None:
    again = tmp_path / "texts.toml"
    again.write_text('[practice.leading_meetings]\nsv = "Leda möten"\nen = "Leading meetings"\n', encoding="utf-8")
    with pytest.raises(TextsError, match=r"practice\.leading_meetings is already defined"):
        Texts.load([SHARED, again])
