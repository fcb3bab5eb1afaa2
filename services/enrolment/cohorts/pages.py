"""The page on which the programme office begins: programmes and their cohorts."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from services.enrolment.cohorts import store
from services.enrolment.cohorts.domain import shown
from services.enrolment.endpoints.requests import After
from services.enrolment.programmes import store as catalogue
from services.enrolment.programmes.ready_made import ready_made
from shared.events.vocabulary import Role
from shared.http.request import Who, pool
from shared.web.render import render

router = APIRouter(prefix="/enrolment/programmes", include_in_schema=False)
PER_PAGE = 20


@router.get("")
async def programmes(request: Request, who: Who, after: After) -> HTMLResponse:
    """Programmes and their cohorts."""
    async with pool(request).acquire() as conn:
        page = await catalogue.page(conn, after=after, limit=PER_PAGE)
        running = await store.of_programmes(conn, [each.id for each in page.items])
    return render(
        request,
        who,
        "programmes.html",
        programmes=[
            (each, [(c, shown(c.cohort, c.taken)) for c in running if c.cohort.programme_id == each.id])
            for each in page.items
        ],
        next=page.next,
        is_office=who.has(Role.programme_office),
        may_make=who.roles.get(Role.programme_office, ()) is None,
        offered=list(ready_made().values()),
    )
