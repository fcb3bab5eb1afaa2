"""Every code that stands in events and APIs, with what it means; public, like the contract."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from shared.events.codes import code_sets
from shared.web.render import render

router = APIRouter(include_in_schema=False)


@router.get("/codes")
async def codes(request: Request) -> Response:
    return render(request, None, "codes.html", sets=code_sets())
