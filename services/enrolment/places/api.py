"""Over HTTP: what is done to a cohort and moves those who take part in it or wait for a place."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.enrolment.cohorts.api import CohortOut, change_cohort
from services.enrolment.endpoints.requests import CohortId
from services.enrolment.places import actions
from shared.http.request import RequestBody, Who

router = APIRouter(prefix="/enrolment/v1/cohorts", tags=["cohorts"])


class CapacityIn(RequestBody):
    """How many places the cohort is to have."""

    capacity: int = Field(ge=1, le=100_000)


@router.post("/{cohort_id}/close", response_model=CohortOut)
async def close_cohort(request: Request, who: Who, cohort_id: CohortId) -> Response:
    """End the cohort: open requests and the waiting list expire; who is active may finish."""
    return await change_cohort(request, who, lambda conn, now: actions.close(conn, who, cohort_id, now=now))


@router.post("/{cohort_id}/capacity", response_model=CohortOut)
async def set_capacity(request: Request, who: Who, cohort_id: CohortId, places: CapacityIn) -> Response:
    """Change the number of places; new ones go at once to who waits, in order."""
    return await change_cohort(
        request, who, lambda conn, now: actions.set_capacity(conn, who, cohort_id, places.capacity, now=now)
    )
