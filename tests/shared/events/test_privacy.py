"""No personal data in public streams, judged field by field so that a new event cannot forget it."""

import re
from typing import Any

import pytest

from shared.events import REGISTRY
from shared.events.contract import schema
from shared.events.vocabulary import CODE

Schema = dict[str, Any]

PERSONAL = re.compile(
    r"(^|_)(names?|given|family|nick|mail|e_?mail|phone|mobile|address|street|birth|born|gender|age|login|user|employee|"
    r"title|text|comment|note|message|answer|score|rating|ip|token|link|locale|reason_text)(_|$)"
)
PERSONAL_WORDS = re.compile(
    r"(?i)\b(e-?mail address|phone|typed|free text|given name|family name|date of birth|salary)\b"
)
CATALOGUE = re.compile(r"(?i)catalogue title|^In (Swedish|English)\.$")  # programme, cohort, unit: public by design
SAFE_FORMATS = {"uuid", "date", "date-time"}


def smells(model: Schema, definitions: dict[str, Schema]) -> list[str]:
    """Fields that could carry personal data, with why."""
    found = []
    for name, field in model.get("properties", {}).items():
        description = field.get("description", "")
        if CATALOGUE.search(description):
            continue
        if PERSONAL.search(name):
            found.append(f"{name}: its name")
        if PERSONAL_WORDS.search(description):
            found.append(f"{name}: its description")
        found += [f"{name}: any text fits" for kind in _kinds(field, definitions) if _is_free_text(kind)]
    return found


def _kinds(field: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    if "$ref" in field:
        return _kinds(definitions[field["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in field:
        return [kind for choice in field["anyOf"] for kind in _kinds(choice, definitions)]
    return _kinds(field["items"], definitions) if field.get("type") == "array" else [field]


def _is_free_text(kind: Schema) -> bool:
    if kind.get("type") == "object":
        return "properties" not in kind  # a part is judged by itself
    if kind.get("type") != "string" or "enum" in kind:
        return kind.get("type") not in ("string", "integer", "boolean", "null")
    return kind.get("format") not in SAFE_FORMATS and kind.get("pattern") != CODE


@pytest.mark.parametrize("type_", [type_ for type_, event in REGISTRY.items() if not event.restricted])
def test_a_public_event_has_no_room_for_personal_data(type_: str) -> None:
    published = schema.published_schema(REGISTRY[type_])
    definitions = published.get("$defs", {})
    assert [smell for model in (published, *definitions.values()) for smell in smells(model, definitions)] == []


@pytest.mark.parametrize("type_", ["medled.person.state.v1", "medled.access.state.v1"])
def test_the_judgement_finds_the_personal_data_of_the_restricted_streams(type_: str) -> None:
    published = schema.published_schema(REGISTRY[type_])
    assert smells(published, published["$defs"])


@pytest.mark.parametrize(
    "field",
    [
        {"comment": {"type": "string", "description": "x"}},
        {"family_name": {"type": "string", "format": "uuid"}},
        {"subject": {"type": "string", "description": "What it is about."}},
        {"tags": {"type": "array", "items": {"type": "string"}}},
        {"extra": {"type": "object", "additionalProperties": {"type": "string"}}},
        {"motive": {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "null"}]}},
        {"purpose": {"type": "string", "pattern": CODE, "description": "Typed by the manager."}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_the_judgement_finds_a_field_that_people_could_fill(field: Schema) -> None:
    assert smells({"properties": field}, {})


def test_events_of_a_round_carry_no_figures() -> None:
    for type_, event in REGISTRY.items():
        if event.topic == "medled.feedback.v1":
            fields = schema.published_schema(event)["properties"]
            numbers = [name for name, field in fields.items() if field.get("type") in ("number", "integer")]
            assert set(numbers) <= {"k"}, type_
