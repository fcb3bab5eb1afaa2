"""What the stream says to people."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

import services.portal.stream
from services.portal.stream.domain import PUBLIC, StreamEntry
from services.portal.stream.wording import say
from shared.ids import new_id

TEXTS = tomllib.loads((Path(services.portal.stream.__file__).parent / "texts.toml").read_text(encoding="utf-8"))


def text(key: str, locale: str) -> str | None:
    return TEXTS[key][locale] if key in TEXTS else None


@pytest.mark.parametrize("kind", [event.type for event in PUBLIC])
def test_every_public_event_says_something_in_both_languages(kind: str) -> None:
    assert TEXTS[f"event.{kind}"].keys() == {"sv", "en"}


@pytest.mark.parametrize(
    ("manager_id", "said"),
    [(None, "A person in Care no longer has a manager"), (new_id(), "A person in Care has a new manager")],
)
def test_a_manager_who_was_lost_is_not_called_a_new_one(manager_id: UUID | None, said: str) -> None:
    entry = StreamEntry(
        position=1, id=new_id(), type="medled.person.manager_changed.v1", source="/medled/test", subject="person",
        time=datetime(2026, 3, 2, tzinfo=UTC), sequence=1, unit=new_id(), programme=None, correlation_id="",
        trace_id="", data={"manager_id": manager_id and str(manager_id)}, names={"unit": "Care"},
    )  # fmt: skip
    assert say(entry, text)["en"] == said
