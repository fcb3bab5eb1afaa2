"""Requests made from an OpenAPI document: what fits a schema, and everything that does not."""

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
Place = tuple[str | int, ...]

_OF_EACH_TYPE: dict[str, list[Any]] = {
    "null": [None], "boolean": [True, False], "integer": [0, 1], "number": [1.5], "string": ["0", "1", "x"],
    "array": [[], ["x"]], "object": [{}, {"x": 1}],
}  # fmt: skip
_FORMATS = {"date": "2026-03-02", "date-time": "2026-03-02T08:00:00Z", "uuid": "00000007-0000-7000-8000-000000000007"}


def json_bodies(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path (its parameters filled) and schema of every operation that takes JSON."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                filled = path
                for parameter in operation.get("parameters", []):
                    value = str(fitting(document, parameter["schema"]))
                    filled = filled.replace(f"{{{parameter['name']}}}", value)
                yield method.upper(), filled, content["application/json"]["schema"]


def fitting(document: Document, schema: Mapping[str, Any]) -> Any:
    """A value that fits: the schema's own example where it has one."""
    schema = _resolved(document, schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "anyOf" in schema:
        return fitting(document, schema["anyOf"][0])
    if schema["type"] == "object":
        return {name: fitting(document, each) for name, each in schema.get("properties", {}).items()}
    if schema["type"] == "array":
        return [fitting(document, schema["items"])] if "items" in schema else []
    if schema["type"] == "string":
        return _FORMATS.get(schema.get("format", ""), "something")
    return {"integer": int(schema.get("minimum", 1)), "number": 1.0, "boolean": True}[schema["type"]]


def of_wrong_type(document: Document, schema: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """For the value and each value within it: where it is, and a value of every JSON type that is not its own."""
    schema = _resolved(document, schema)
    variants = [_resolved(document, each) for each in schema.get("anyOf", [schema])]
    types = {each.get("type") or _type_of(each) for each in variants}
    types |= {"integer"} if "number" in types else set()
    wrong = [value for kind, values in _OF_EACH_TYPE.items() if kind not in types for value in values]
    if any(each.get("format") in _FORMATS for each in variants):
        wrong += ["0", "1700000000"]
    yield from (((), value) for value in wrong)
    for each in variants:
        for name, part in each.get("properties", {}).items():
            yield from (((name, *place), value) for place, value in of_wrong_type(document, part))
        if each.get("type") == "array" and "items" in each:
            yield from (((0, *place), value) for place, value in of_wrong_type(document, each["items"]))
        if isinstance(each.get("additionalProperties"), dict) and schema.get("examples"):
            name = next(iter(schema["examples"][0]))
            within = of_wrong_type(document, each["additionalProperties"])
            yield from (((name, *place), value) for place, value in within)


def replaced(whole: Any, place: Place, value: Any) -> Any:
    """`whole` with the part at `place` replaced."""
    if not place:
        return value
    here, *rest = place
    if isinstance(whole, list):
        return [replaced(part, tuple(rest), value) if index == here else part for index, part in enumerate(whole)]
    return {**(whole or {}), here: replaced((whole or {}).get(here), tuple(rest), value)}


def _resolved(document: Document, schema: Mapping[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        schema = {**named, **{key: value for key, value in schema.items() if key != "$ref"}}
    return dict(schema)


def _type_of(schema: Mapping[str, Any]) -> str:
    value = schema.get("const", schema.get("enum", [None])[0])
    return {bool: "boolean", int: "integer", str: "string"}.get(type(value), "null")
