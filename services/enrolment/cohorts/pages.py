"""Pages of the programme office: programmes with their cohorts, where it begins, and the form that plans a cohort."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse

from services.enrolment.cohorts import actions, cohort_form, store
from services.enrolment.cohorts.cohort_form import CohortForm, Plan
from services.enrolment.cohorts.domain import shown
from services.enrolment.endpoints.forms import Fault, fields_of, submit_once, typed
from services.enrolment.endpoints.requests import After
from services.enrolment.programmes import store as catalogue
from services.enrolment.programmes.domain import VersionStatus
from services.enrolment.programmes.ready_made import ready_made
from shared.errors import NotFoundError, RuleError
from shared.events.vocabulary import Role
from shared.http.request import Who, pool
from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.security.authorization import require, units_of
from shared.security.principal import Principal
from shared.security.same_origin import form_guard
from shared.web.render import render

router = APIRouter(prefix="/enrolment/programmes", include_in_schema=False)
FORM = [Depends(form_guard)]
PER_PAGE = 20
MOST_UNITS = 200
_BESIDE = {"ends_on": Fault("cohort.wrong.order"), "unit_id": Fault("cohort.wrong.unit_id")}
"""What is said beside the field that a rule names."""

ProgrammeId = Annotated[UUID, Path(description="The programme.")]


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


@router.get("/{programme_id}/cohorts/new")
async def write_cohort(request: Request, who: Who, programme_id: ProgrammeId) -> HTMLResponse:
    """The form of a new cohort."""
    return await _form(request, who, programme_id, CohortForm())


@router.post("/{programme_id}/cohorts/new", dependencies=FORM)
async def plan_cohort(request: Request, who: Who, programme_id: ProgrammeId) -> Response:
    """Plan the cohort that the form holds, or show the form again."""
    fields = await fields_of(request)
    form = cohort_form.read(fields)
    if typed(fields, "do") == "seek":
        return await _form(request, who, programme_id, form)
    plan = cohort_form.check(form)
    if not isinstance(plan, Plan):
        return await _form(request, who, programme_id, form, faults=plan, status=422)

    async def keep(conn: Connection, now: datetime) -> str:
        cohort = await actions.plan(
            conn, who, programme_id=programme_id, programme_version=plan.programme_version, name=plan.name,
            capacity=plan.capacity, unit_id=plan.unit_id, starts_on=plan.starts_on, ends_on=plan.ends_on, now=now,
        )  # fmt: skip
        return f"/enrolment/cohorts/{cohort.id}?done=planned"

    try:
        return await submit_once(request, who, fields, keep)
    except RuleError as refused:
        faults = {each["field"]: _BESIDE[each["field"]] for each in refused.errors if each["field"] in _BESIDE}
        said = None if faults else refused.type
        return await _form(request, who, programme_id, form, faults=faults, refused=said, status=refused.status)


async def _form(
    request: Request,
    who: Principal,
    programme_id: UUID,
    form: CohortForm,
    *,
    faults: Mapping[str, Fault] | None = None,
    refused: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    async with pool(request).acquire() as conn:
        within = await units_of(conn, who, Role.programme_office)
        if within == frozenset():
            await require(conn, who, Role.programme_office)
        versions = await catalogue.versions(conn, programme_id)
        units, found = await store.units_to_choose(
            conn, within=within, sought=form.sought, chosen=cohort_form.unit(form.unit_id), limit=MOST_UNITS
        )
    if not versions:
        raise NotFoundError("There is no programme with this id.", remedy="Choose one from the list.")
    published = [each for each in reversed(versions) if each.status is VersionStatus.published]
    return render(
        request, who, "plan_cohort.html", status=status, newest=versions[-1], published=published, form=form,
        faults=faults or {}, refused=refused, form_key=new_id(), may_everybody=within is None,
        units=[(str(unit), path) for unit, path in units], more=found > len(units),
    )  # fmt: skip
