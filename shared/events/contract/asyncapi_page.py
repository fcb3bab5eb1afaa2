"""The event streams for people: the AsyncAPI document as a page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.events.codes import titles
from shared.events.contract.asyncapi import HEADERS, REQUIRED_HEADERS, Json, asyncapi


def asyncapi_html() -> str:
    """The same document as a page for people; one self-contained HTML file without scripts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"type_text": _type_text, "meaning": _meaning, "codes": _codes}
    return environment.get_template("asyncapi_page.html").render(
        api=asyncapi(), headers=HEADERS, required=REQUIRED_HEADERS, titles=titles()
    )


def _type_text(schema: Json) -> str:
    """A field's type in a few words."""
    if "$ref" in schema:
        return _type_text_of_model(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " or ".join(_type_text(choice) for choice in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type_text(schema['items'])}"
    return str(schema.get("format") or schema.get("type") or "any")


def _type_text_of_model(name: str) -> str:
    model = asyncapi()["components"]["schemas"][name]
    if "enum" in model:
        return " | ".join(model["enum"])
    fields = ", ".join(f"{field}: {_type_text(schema)}" for field, schema in model["properties"].items())
    return f"{{{fields}}}"


def _meaning(schema: Json) -> str:
    """A field's description; an optional field has it on the value that it may hold."""
    return schema.get("description") or next(filter(None, map(_meaning, schema.get("anyOf", []))), "")


def _codes(schema: Json) -> str | None:
    """The set that explains the codes a field may hold: its own, its list's or its model's."""
    found: str | None = schema.get("x-medled-codes")
    if found is None and "$ref" in schema:
        found = asyncapi()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]].get("x-medled-codes")
    if found is None and "items" in schema:
        found = _codes(schema["items"])
    return found or next(filter(None, map(_codes, schema.get("anyOf", []))), None)
