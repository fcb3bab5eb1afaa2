"""The event streams for people: the AsyncAPI document as a page, and the addresses where both are served."""

import base64
import hashlib
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.asyncapi.document import HEADERS, REQUIRED_HEADERS, Json, asyncapi
from shared.events.base import REGISTRY
from shared.events.codes import titles
from shared.events.schema import published_schema
from shared.problems import Problem


def asyncapi_html() -> str:
    """The same document as a page for people; one self-contained HTML file without scripts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"type_text": _type_text, "meaning": _meaning, "codes": _codes}
    return environment.get_template("page.html").render(
        api=asyncapi(), headers=HEADERS, required=REQUIRED_HEADERS, titles=titles()
    )


def router() -> APIRouter:
    """`/asyncapi` for people, `/asyncapi.json` and `/schemas/<type>.json` for programs. Public, like the contract."""
    routes = APIRouter(tags=["documents"])

    @routes.get("/asyncapi", include_in_schema=False)
    def page() -> HTMLResponse:
        html = asyncapi_html()
        style = html.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @routes.get("/asyncapi.json", summary="The event streams as an AsyncAPI 3.0 document")
    def document() -> JSONResponse:
        return JSONResponse(asyncapi())

    @routes.get("/schemas/{event_type}.json", summary="The JSON Schema of one event type")
    def schema(event_type: str) -> JSONResponse:
        if event_type not in REGISTRY:
            raise Problem(404, "not-found", "No such event type", "See /asyncapi.json for the types there are.")
        return JSONResponse(published_schema(REGISTRY[event_type]), media_type="application/schema+json")

    return routes


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
