"""Where the `type` of a problem leads. Open to everybody: it says nothing of the organisation."""

import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from shared.errors import ProblemError
from shared.web.render import render

router = APIRouter(include_in_schema=False)

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+){0,11}")


@router.get("/problems/{type}")
async def problem(request: Request, type: str) -> Response:  # noqa: A002 - as problem details call it
    if len(type) > 64 or not _SLUG.fullmatch(type):
        raise ProblemError(
            404, "not-found", "Not found", "There is no such kind of problem.", remedy="Check the address."
        )
    return render(request, None, "problem.html", slug=type)
