"""Pages of the programme office: one cohort, where its people stand, and the steps it can take."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.enrolment.cohorts import actions as cohorts
from services.enrolment.cohorts import store
from services.enrolment.cohorts.cohort_form import places, wrong_places
from services.enrolment.cohorts.domain import CapacityTakenError, possible_for, shown
from services.enrolment.endpoints.forms import Fault, confirm, fields_of, submit, submit_once, typed
from services.enrolment.endpoints.requests import After, CohortId
from services.enrolment.enrolments import queries
from services.enrolment.enrolments.domain import Status
from services.enrolment.places import actions
from shared.errors import NotFoundError, RuleError
from shared.events.vocabulary import Role
from shared.http.request import Who, now, pool
from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.authorization import require
from shared.security.principal import Principal
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
    return await _show(request, who, cohort_id, after=after, only=status)


async def _show(
    request: Request,
    who: Principal,
    cohort_id: UUID,
    *,
    after: UUID | None = None,
    only: Status | None = None,
    capacity: str | None = None,
    wrong: Fault | None = None,
    status: int = 200,
) -> HTMLResponse:
    """The page; `capacity` and `wrong` are what was typed and is wrong with it."""
    async with transaction(pool(request)) as conn:
        page = await queries.of_cohort(conn, who, cohort_id, status=only, after=after, limit=PER_PAGE, now=now(request))
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
        only=only,
        capacity=listed.cohort.capacity if capacity is None else capacity,
        wrong=wrong,
        form_key=new_id(),
        status=status,
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
async def set_capacity(request: Request, who: Who, cohort_id: CohortId) -> Response:
    """Change the number of places."""
    fields = await fields_of(request)
    written, page = typed(fields, "capacity"), f"/enrolment/cohorts/{cohort_id}"
    capacity, seen = places(written), places(typed(fields, "seen"))
    if capacity is None:
        return await _show(request, who, cohort_id, capacity=written, wrong=wrong_places(), status=422)

    async def change(conn: Connection, now: datetime) -> str:
        await actions.set_capacity(conn, who, cohort_id, capacity, seen=seen, now=now)
        return f"{page}?done=changed"

    try:
        return await submit_once(request, who, fields, change)
    except CapacityTakenError as taken:
        wrong = Fault(f"refused.{taken.type}")
        return await _show(request, who, cohort_id, capacity=written, wrong=wrong, status=taken.status)
    except RuleError as refused:
        return RedirectResponse(f"{page}?refused={refused.type}", 303)


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
