"""Cohorts over HTTP. Writing takes the programme office's role for the cohort's unit; everybody may read."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import ClassVar
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.cohorts import actions, store
from services.enrolment.cohorts.domain import Cohort, CohortStatus, shown
from services.enrolment.cohorts.store import ListedCohort
from services.enrolment.endpoints.requests import SIGNED_IN, After, CohortId
from shared.errors import NotFoundError
from shared.events import Title
from shared.events.vocabulary import CatalogueTitle
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import Id, RequestBody, Who, WrittenDay, pool
from shared.postgres.pool import Connection
from shared.security.principal import Principal

router = APIRouter(prefix="/enrolment/v1/cohorts", tags=["cohorts"])


class CohortIn(RequestBody):
    """A cohort to plan. Without `programme_version` it runs the newest published one."""

    programme_id: Id
    programme_version: int | None = Field(default=None, ge=1, le=1_000_000)
    name: CatalogueTitle = Field(examples=["Spring 2026"])
    capacity: int = Field(ge=1, le=100_000, description="How many can take part.", examples=[40])
    unit_id: Id | None = Field(default=None, description="The unit it is for, all below included; null: everybody.")
    starts_on: WrittenDay
    ends_on: WrittenDay


class PlacesOut(BaseModel):
    """How many stand where in a cohort. Whoever completed keeps the place."""

    capacity: int
    requested: int
    waitlisted: int
    active: int
    completed: int


class CohortOut(BaseModel):
    """A cohort; `full` while it is open and every place is taken."""

    LINKS: ClassVar[Links] = {
        "get_cohort": {"cohort_id": "id"},
        "open_cohort": {"cohort_id": "id"},
        "start_cohort": {"cohort_id": "id"},
        "close_cohort": {"cohort_id": "id"},
        "set_capacity": {"cohort_id": "id"},
        "list_enrolments": {"cohort": "id"},
        "get_programme": {"programme_id": "programme_id"},
    }

    id: UUID
    programme_id: UUID
    programme_version: int
    programme_title: Title
    name: str
    unit_id: UUID | None
    starts_on: date
    ends_on: date
    status: CohortStatus
    places: PlacesOut

    @classmethod
    def of(cls, listed: ListedCohort) -> "CohortOut":
        cohort = listed.cohort
        return cls(
            id=cohort.id,
            programme_id=cohort.programme_id,
            programme_version=cohort.programme_version,
            programme_title=listed.programme_title,
            name=cohort.name,
            unit_id=cohort.unit_id,
            starts_on=cohort.starts_on,
            ends_on=cohort.ends_on,
            status=shown(cohort, listed.taken),
            places=PlacesOut(
                capacity=cohort.capacity,
                requested=listed.requested,
                waitlisted=listed.waitlisted,
                active=listed.active,
                completed=listed.completed,
            ),
        )


@router.get("", dependencies=SIGNED_IN)
async def list_cohorts(
    request: Request,
    after: After,
    status: CohortStatus | None = None,
    programme: UUID | None = None,
    limit: Limit = 50,
) -> Page[CohortOut]:
    """Cohorts in the order they were made. `status=open` includes the full ones."""
    async with pool(request).acquire() as conn:
        page = await store.page(conn, status=status, programme_id=programme, after=after, limit=limit)
    return page.of(CohortOut.of)


@router.get("/{cohort_id}", dependencies=SIGNED_IN)
async def get_cohort(request: Request, cohort_id: CohortId) -> CohortOut:
    """One cohort."""
    async with pool(request).acquire() as conn:
        return await told(conn, cohort_id)


Action = Callable[[Connection, datetime], Awaitable[Cohort]]


async def change_cohort(request: Request, who: Principal, action: Action, *, status: int = 200) -> Response:
    """One action on one transaction, answered with the cohort as it stands after it."""
    async with change(request, who, status=status) as tx:
        cohort = await action(tx.conn, tx.now)
        return tx.answer(await told(tx.conn, cohort.id))


async def told(conn: Connection, cohort_id: UUID) -> CohortOut:
    """The cohort as it stands. Raises NotFoundError."""
    found = await store.get(conn, cohort_id)
    if found is None:
        raise NotFoundError("There is no cohort with this id.", remedy="Choose one from the list.")
    return CohortOut.of(found)


@router.post("", status_code=201, response_model=CohortOut)
async def plan_cohort(request: Request, who: Who, cohort: CohortIn) -> Response:
    """Plan a cohort. Nobody can ask for a place until it is opened."""
    return await change_cohort(
        request, who, lambda conn, now: actions.plan(conn, who, **cohort.model_dump(), now=now), status=201
    )


@router.post("/{cohort_id}/open", response_model=CohortOut)
async def open_cohort(request: Request, who: Who, cohort_id: CohortId) -> Response:
    """Let people ask for a place."""
    return await change_cohort(request, who, lambda conn, now: actions.open_(conn, who, cohort_id, now=now))


@router.post("/{cohort_id}/start", response_model=CohortOut)
async def start_cohort(request: Request, who: Who, cohort_id: CohortId) -> Response:
    """Begin to run: nobody new can ask; requests can still be answered and the waiting list still moves up."""
    return await change_cohort(request, who, lambda conn, now: actions.start(conn, who, cohort_id, now=now))
