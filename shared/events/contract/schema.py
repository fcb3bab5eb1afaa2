"""The JSON Schemas (2020-12) of the events, as outsiders read them, and an example of each.

They are open: consumers ignore fields they do not know, so a published schema must not forbid them. Producers do.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from shared.events.envelope import dataschema
from shared.events.event import REGISTRY, Event
from shared.events.feedback import PURPOSE

Schema = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "schemas"
RELEASED = FOLDER / "released"


class _Published(GenerateJsonSchema):
    """Without the titles that pydantic makes up from field names; descriptions say more."""

    def get_title_from_name(self, name: str) -> str:  # noqa: ARG002 - the base class's signature
        return ""

    def generate(self, schema: Any, mode: Any = "validation") -> JsonSchemaValue:
        return dict(_tidy(super().generate(schema, mode)))


def _tidy(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {
            key: _tidy(value)
            for key, value in node.items()
            if not (key == "additionalProperties" and value is False) and not (key == "title" and value == "")
        }
    return [_tidy(item) for item in node] if isinstance(node, list) else node


def schema_of(event: type[Event], ref_template: str = "#/$defs/{model}") -> Schema:
    """The schema of one event's value, without `$id`. `ref_template` says where the shared definitions stand."""
    schema = event.model_json_schema(schema_generator=_Published, ref_template=ref_template)
    if event.source == "/medled/feedback":
        schema["description"] = f"{schema['description']}\n\n{PURPOSE}"
    return schema


def published_schema(event: type[Event]) -> Schema:
    """The schema of one event as the file that is committed, released and served."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": dataschema(event.type),
        **schema_of(event),
    }


def published_schemas() -> dict[str, str]:
    """Every schema's file name with its text, the same on every machine."""
    return {
        f"{type_}.json": json.dumps(published_schema(event), indent=2, ensure_ascii=False) + "\n"
        for type_, event in sorted(REGISTRY.items())
    }


def newest_release() -> Path | None:
    """The folder of the last released schemas; None before the first release."""
    releases = [path for path in RELEASED.iterdir() if path.is_dir()] if RELEASED.is_dir() else []
    return max(releases, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def example_of(event: type[Event]) -> Event:
    """A valid example, made of the examples that the fields give."""
    schema = schema_of(event)
    return event.decode(json.dumps(_example(schema, schema.get("$defs", {}))).encode())


def _example(schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _example(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: _example(field, definitions) for name, field in schema["properties"].items()}
        case "array":
            return [_example(schema["items"], definitions)]
        case "string" if schema.get("format") == "uuid":
            return "0198c0de-0000-7000-8000-00000000000a"
    raise ValueError(f"give this field an example: {schema}")
