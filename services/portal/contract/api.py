"""The contract that outsiders build on, for people and for programs. Public."""

import base64
import hashlib

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse

from shared.errors import ProblemError
from shared.events.contract.asyncapi import asyncapi
from shared.events.contract.asyncapi_page import asyncapi_html
from shared.events.contract.schema import published_schema
from shared.events.event import REGISTRY

router = APIRouter(tags=["documents"])


@router.get("/asyncapi", include_in_schema=False)
def page() -> HTMLResponse:
    """The document for people."""
    html = asyncapi_html()
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    return HTMLResponse(html, headers={"content-security-policy": policy})


@router.get("/asyncapi.json", summary="The event streams as an AsyncAPI 3.0 document")
def document() -> JSONResponse:
    return JSONResponse(asyncapi())


@router.get("/schemas/{event_type}.json", summary="The JSON Schema of one event type")
def schema(event_type: str) -> JSONResponse:
    if event_type not in REGISTRY:
        raise ProblemError(404, "not-found", "No such event type", "See /asyncapi.json for the types there are.")
    return JSONResponse(published_schema(REGISTRY[event_type]), media_type="application/schema+json")
