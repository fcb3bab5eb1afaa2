"""Pages of the programme office: one cohort, where its people stand, and the steps it can take."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse

from services.enrolment.cohorts import actions as cohorts
from services.enrolment.cohorts import store
from services.enrolment.cohorts.domain import possible_for, shown
from services.enrolment.endpoints.forms import confirm, submit
from services.enrolment.endpoints.requests import After, CohortId
from services.enrolment.enrolments import queries
from services.enrolment.enrolments.domain import Status
from services.enrolment.places import actions
from shared.errors import NotFoundError
from shared.events.vocabulary import Role
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.authorization import require
from shared.security.same_origin import form_guard
from shared.web.render import render

router = APIRouter(prefix="/enrolment/cohorts", include_in_schema=False)
FORM = [Depends(form_guard)]
PER_PAGE = 50
_STEPS = {"open": cohorts.open_, "start": cohorts.start, "close": actions.close}


@router.get("/{cohort_id}")
async def cohort(
    request: Request, who: Who, cohort_id: CohortId, after: After, status: Status | None = None
) -> HTMLResponse:
    """One cohort: its funnel, its people, and what can be done next."""
    async with transaction(pool(request)) as conn:
        page = await queries.of_cohort(
            conn, who, cohort_id, status=status, after=after, limit=PER_PAGE, now=now(request)
        )
        listed = await store.get(conn, cohort_id)
    if listed is None:
        raise NotFoundError("There is no cohort with this id.")
    return render(
        request,
        who,
        "cohort.html",
        listed=listed,
        state=shown(listed.cohort, listed.taken),
        possible=possible_for(listed.cohort),
        people=page.items,
        next=page.next,
        only=status,
    )


@router.get("/{cohort_id}/close")
async def confirm_closing(request: Request, who: Who, cohort_id: CohortId) -> HTMLResponse:
    """Ask before closing: requests and the waiting list end with it."""
    async with transaction(pool(request)) as conn:
        listed = await store.get(conn, cohort_id)
        if listed is None:
            raise NotFoundError("There is no cohort with this id.")
        await require(conn, who, Role.programme_office, unit=listed.cohort.unit_id)
    page = f"/enrolment/cohorts/{cohort_id}"
    return confirm(request, who, "close", action=f"{page}/close", back=page, cohort=listed.cohort.name)


@router.post("/{cohort_id}/capacity", dependencies=FORM)
async def set_capacity(
    request: Request, who: Who, cohort_id: CohortId, capacity: Annotated[int, Form(ge=1, le=100_000)]
) -> Response:
    """Change the number of places."""
    return await submit(
        request,
        lambda conn, now: actions.set_capacity(conn, who, cohort_id, capacity, now=now),
        back=f"/enrolment/cohorts/{cohort_id}",
        done="changed",
    )


@router.post("/{cohort_id}/{step}", dependencies=FORM)
async def take_step(
    request: Request, who: Who, cohort_id: CohortId, step: Literal["open", "start", "close"]
) -> Response:
    """Open, start or close the cohort."""
    return await submit(
        request,
        lambda conn, now: _STEPS[step](conn, who, cohort_id, now=now),
        back=f"/enrolment/cohorts/{cohort_id}",
        done="changed",
    )
