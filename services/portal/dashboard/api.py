"""The figures over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.portal import readers
from services.portal.dashboard.domain import Figures, Within
from services.portal.stream.live import live

router = APIRouter(prefix="/portal/v1", tags=["figures"])


@router.get("/overview", response_model=Figures)
async def overview(request: Request, within: Annotated[Within, Depends(readers.within)]) -> Response:
    """How many enrolments, milestones, rounds and deliveries stand in each state, as of a stream position.

    Figures are at most a second old. Follow `GET /portal/v1/stream?after=<position>` to stay current.
    """
    snapshot = await live(request).snapshots.recent(within)
    return Response(snapshot.json, media_type="application/json")
