"""The front door, and the organisation's page: complete as it is sent, and live from then on."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from services.portal.dashboard import readers
from services.portal.dashboard.domain import ENDED, FUNNEL, Figures, Within
from services.portal.stream import store
from services.portal.stream.live import live
from services.portal.stream.wording import collapse
from shared.http.request import Who, pool
from shared.postgres.transaction import transaction
from shared.web.navigation import ENTRIES
from shared.web.render import render

router = APIRouter(include_in_schema=False)

_READ = 300
_SHOWN = 20


ORGANISATION = "/organisation"


@router.get("/")
async def front(request: Request, who: Who) -> RedirectResponse:
    """People begin with what is theirs. Figures of a part of the organisation were asked for here before, and a machine
    has nothing of its own: both are led on to the organisation's page.
    """
    if who.kind == "machine" or {"unit", "programme"} & set(request.query_params):
        return RedirectResponse(f"{ORGANISATION}?{request.url.query}".rstrip("?"), 307)
    return RedirectResponse(ENTRIES[0].path, 307)


@router.get(ORGANISATION)
async def overview(
    request: Request,
    who: Who,
    within: Annotated[Within, Depends(readers.within)],
) -> Response:
    here = live(request)
    figures = (await here.snapshots.recent(within)).figures
    async with transaction(pool(request)) as conn:
        entries = await store.read_latest(conn, figures.position, _READ, within)
    return render(
        request, who, "overview.html",
        figures=figures,
        funnel=FUNNEL,
        ended=ENDED,
        groups=_groups(figures),
        most_enrolments=max(1, *(figures.enrolments[state] for state in FUNNEL)),
        most_practices=max(1, *figures.practices.values()),
        rows=lambda language: collapse(entries, language, here.text)[:_SHOWN],
        query_string=request.url.query,
    )  # fmt: skip


def _groups(figures: Figures) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """The small cards: their name, and for each figure its word, its path in the figures and its value."""
    catalogue = [("programmes", "programmes", figures.programmes)]
    groups = [
        ("rounds", [(state, f"rounds.{state}", n) for state, n in figures.rounds.items()]),
        ("deliveries", [(state, f"deliveries.{state}", n) for state, n in (figures.deliveries or {}).items()]),
        ("catalogue", catalogue + [(state, f"cohorts.{state}", n) for state, n in figures.cohorts.items()]),
    ]
    return [(name, states) for name, states in groups if states]
