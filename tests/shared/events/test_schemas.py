"""The schemas that outsiders read: committed, up to date, compatible with the last release."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from shared.events import REGISTRY, Event
from shared.events.contract import generate, release, schema
from tests.shared.events.compatibility import Schema, problems

EVENTS = pytest.mark.parametrize("event", REGISTRY.values(), ids=REGISTRY)


def current() -> dict[str, Schema]:
    return {type_: schema.published_schema(event) for type_, event in REGISTRY.items()}


def test_the_committed_schemas_are_those_of_the_code() -> None:
    assert generate.outdated() == [], "run python -m shared.events.contract.generate"


def test_the_schemas_can_follow_the_last_release() -> None:
    released = schema.newest_release()
    before = {path.stem: json.loads(path.read_text()) for path in released.glob("*.json")} if released else current()
    assert problems(before, current()) == []


@EVENTS
def test_what_an_event_encodes_to_follows_its_published_schema(event: type[Event]) -> None:
    value = json.loads(schema.example_of(event).encode())
    validator = jsonschema_rs.validator_for(schema.published_schema(event), validate_formats=True)
    assert [error.message for error in validator.iter_errors(value)] == []
    wrong = {field: {"not": "this"} for field in value} | {"roles": 1}
    assert not validator.is_valid(wrong)


@EVENTS
def test_every_field_of_an_event_is_explained(event: type[Event]) -> None:
    published = schema.published_schema(event)
    assert published["description"]
    for model in (published, *published.get("$defs", {}).values()):
        for name, field in model.get("properties", {}).items():
            texts = [field.get("description"), *(choice.get("description") for choice in field.get("anyOf", []))]
            assert any(texts), f"{name} has no description"


def test_feedback_says_in_its_schemas_that_it_is_for_development_only() -> None:
    purposed = [
        type_ for type_, text in current().items() if "development of co-leadership only" in text["description"]
    ]
    assert purposed == [type_ for type_, event in REGISTRY.items() if event.source == "/medled/feedback"]


def _remove_a_field(model: Schema) -> None:
    del model["properties"]["promoted"]
    model["required"].remove("promoted")


def _remove_an_optional_field(model: Schema) -> None:
    del model["properties"]["manager_id"]


def _require_a_new_field(model: Schema) -> None:
    model["properties"]["mentor_id"] = {"type": "string", "format": "uuid"}
    model["required"].append("mentor_id")


def _change_a_type(model: Schema) -> None:
    model["properties"]["promoted"] = {"type": "string"}


def _let_a_field_be_null(model: Schema) -> None:
    model["properties"]["unit_id"] = {"anyOf": [model["properties"]["unit_id"], {"type": "null"}]}


@pytest.mark.parametrize(
    "change",
    [_remove_a_field, _remove_an_optional_field, _require_a_new_field, _change_a_type, _let_a_field_be_null],
)
def test_an_incompatible_change_is_caught(change: Callable[[Schema], None]) -> None:
    type_ = "medled.enrolment.activated.v1"
    changed = copy.deepcopy(current()[type_])
    change(changed)
    assert problems({type_: current()[type_]}, {type_: changed})


@pytest.mark.parametrize(("type_", "definition"), [
    ("medled.milestone.reached.v1", "Practice"),
    ("medled.responses.counted.v1", "Bucket"),
    ("medled.person.state.v1", "PersonStatus"),
])  # fmt: skip
def test_a_new_value_of_a_closed_set_is_caught(type_: str, definition: str) -> None:
    changed = copy.deepcopy(current()[type_])
    changed["$defs"][definition]["enum"].append("something_new")
    assert problems({type_: current()[type_]}, {type_: changed})


def test_a_field_removed_inside_a_part_is_caught() -> None:
    type_ = "medled.milestone.reached.v1"
    changed = copy.deepcopy(current()[type_])
    plan = changed["$defs"]["FeedbackPlan"]
    del plan["properties"]["days_open"]
    plan["required"].remove("days_open")
    assert problems({type_: current()[type_]}, {type_: changed})


def test_an_event_that_is_gone_is_caught() -> None:
    remaining = current()
    del remaining["medled.round.closed.v1"]
    assert problems(current(), remaining) == ["medled.round.closed.v1: is gone"]


def test_a_new_optional_field_and_a_new_event_are_compatible() -> None:
    old, new = current(), current()
    nothing: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    new["medled.enrolment.activated.v1"]["properties"]["mentor_id"] = nothing
    new["medled.mandate.granted.v1"] = {"type": "object", "properties": {}}
    assert problems(old, new) == []


def test_a_release_freezes_the_schemas_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "RELEASED", tmp_path)
    monkeypatch.setattr(schema, "RELEASED", tmp_path)
    for version in ("0.9.0", "0.10.0"):
        release.release(version)
    newest = schema.newest_release()
    assert newest == tmp_path / "0.10.0"
    assert {path.name for path in newest.iterdir()} == {f"{type_}.json" for type_ in REGISTRY}
    with pytest.raises(release.ReleaseError, match="already"):
        release.release("0.9.0")
    with pytest.raises(release.ReleaseError, match="not a version"):
        release.release("../escape")


def test_nothing_is_released_while_the_files_are_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "RELEASED", tmp_path)
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    with pytest.raises(release.ReleaseError, match="out of date"):
        release.release("0.1.0")
    assert "medled.round.opened.v1.json" in generate.write()
    (tmp_path / "medled.nothing.v1.json").write_text("{}")
    assert generate.write() == ["medled.nothing.v1.json"]
    assert generate.outdated() == []
