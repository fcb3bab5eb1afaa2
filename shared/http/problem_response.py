"""What goes wrong, told as RFC 9457 problem details; to browsers as a page."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.errors import FieldFault, ProblemError
from shared.postgres.failures import UNAVAILABLE
from shared.security.authentication import optional_principal
from shared.web.error_pages import error_page

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100  # told of one request: a megabyte of fields that nobody knows has sixty thousand


class FieldErrorBody(BaseModel):
    """Where in the request, what is wrong there, and what to do."""

    field: str
    detail: str
    remedy: str | None = None


class ProblemBody(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="Stable URI of the kind of problem.")
    title: str = Field(description="The kind of problem in words.")
    status: int
    detail: str = Field(description="What is the matter this time.")
    remedy: str | None = Field(default=None, description="What to do about it.")
    errors: list[FieldErrorBody] = Field(
        default=[], description="The parts of the request that are at fault, at most 100."
    )
    trace_id: str | None = Field(default=None, description="Quote it when reporting a fault of ours.")


def respond(request: Request, problem: ProblemError) -> Response:
    """The problem as a page for browsers, as JSON for everybody else."""
    if wants_page(request) and hasattr(request.app.state, "web"):
        return error_page(request, problem)
    content: dict[str, Any] = {
        "type": f"{request.app.state.settings.public_url}/problems/{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.remedy:
        content["remedy"] = problem.remedy
    if problem.errors:
        content["errors"] = problem.errors
    span = trace.get_current_span().get_span_context()
    if problem.status >= 500 and span.is_valid:
        content["trace_id"] = f"{span.trace_id:032x}"
    return _ProblemResponse(content, problem.status, problem.headers)


class _ProblemResponse(JSONResponse):
    """JSON that may name a field of the client's that holds half a surrogate pair, which UTF-8 has no bytes for."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace")  # `\ud800`, JSON's own way to write it


def wants_page(request: Request) -> bool:
    """Whether a person with a browser is asking; an API path answers in JSON even then."""
    return "text/html" in request.headers.get("accept", "") and "/v1/" not in request.url.path


async def on_problem(request: Request, exc: ProblemError) -> Response:
    """Handler for whatever was refused."""
    return respond(request, exc)


async def on_http_exception(request: Request, exc: HTTPException) -> Response:
    """Handler for what the framework raises: unknown route, wrong method, body too large."""
    if wants_page(request) and not hasattr(request.state, "who"):  # no route has asked: its page has their navigation
        with suppress(ProblemError, *UNAVAILABLE):
            await optional_principal(request)
    kind, title, detail, remedy = _FRAMEWORK.get(exc.status_code) or _unnamed(exc)
    return respond(request, ProblemError(exc.status_code, kind, title, detail, remedy=remedy, headers=exc.headers))


_FRAMEWORK: dict[int, tuple[str, str, str, str]] = {
    404: ("not-found", "Not found", "There is nothing at this address.", "Check the address."),
    405: ("method-not-allowed", "Method not allowed", "This address does not answer to that method.", "See `Allow`."),
    413: ("too-large", "Too large", "The request's body is larger than this address accepts.", "Send less at a time."),
}


def _unnamed(exc: HTTPException) -> tuple[str, str, str, str]:
    phrase = HTTPStatus(exc.status_code).phrase
    return phrase.lower().replace(" ", "-"), phrase, str(exc.detail), "Correct the request and send it again."


async def on_validation_error(request: Request, exc: RequestValidationError) -> Response:
    """Handler for requests that do not fit their schema. What was sent is not repeated: it may be personal."""
    if wants_page(request) and all(error["loc"][0] == "path" for error in exc.errors()):
        return await on_http_exception(request, HTTPException(404))  # to a reader, an address that leads nowhere
    found = exc.errors()
    errors = [
        FieldFault(field=_field(error["loc"]), detail=str(error["msg"]), remedy=_remedy(error))
        for error in found[:MOST_ERRORS]
    ]
    count = "one place" if len(found) == 1 else f"{len(found)} places"
    more = f" `errors` names the first {MOST_ERRORS}, and not the other {len(found) - MOST_ERRORS}."
    detail = f"The request is at fault in {count}.{more if len(found) > MOST_ERRORS else ''}"
    problem = ProblemError(
        422, "invalid-request", "The request is not valid", detail,
        remedy="Correct what `errors` names and send the request again.", errors=errors,
    )  # fmt: skip
    return respond(request, problem)


def _field(loc: Sequence[str | int]) -> str:
    """`name`, `items.0.name`; the part of the request itself when it is at fault as a whole."""
    inner = [str(part) for part in loc[1:]]
    if not inner or (loc[0] == "body" and isinstance(loc[1], int) and len(loc) == 2):
        return str(loc[0])
    return ".".join(inner)


def _remedy(error: Mapping[str, Any]) -> str:
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind in _REMEDIES:
        return _REMEDIES[kind].format(**context)
    for prefix, remedy in _REMEDY_BY_PREFIX.items():
        if kind.startswith(prefix):
            return remedy
    return "Correct the value and send the request again."


_REMEDIES = {
    "missing": "Add it.",
    "extra_forbidden": "Remove it: it is not known here.",
    "json_invalid": "Send well-formed JSON.",
    "model_attributes_type": "Send a JSON object with `content-type: application/json`.",
    "string_too_long": "Send at most {max_length} characters.",
    "string_too_short": "Send at least {min_length} characters.",
    "too_long": "Send at most {max_length}.",
    "too_short": "Send at least {min_length}.",
    "enum": "Send one of {expected}.",
    "literal_error": "Send one of {expected}.",
    "greater_than": "Send more than {gt}.",
    "greater_than_equal": "Send {ge} or more.",
    "less_than": "Send less than {lt}.",
    "less_than_equal": "Send {le} or less.",
    "timezone_aware": "Send a time with its offset, such as 2026-03-02T08:00:00Z.",
}
_REMEDY_BY_PREFIX = {
    "uuid": "Send a UUID, such as 0198c0de-0000-7000-8000-000000000001.",
    "datetime": "Send an RFC 3339 time, such as 2026-03-02T08:00:00Z.",
    "date": "Send a date, such as 2026-03-02.",
    "int": "Send a whole number.",
    "bool": "Send true or false.",
    "string": "Send text.",
}
