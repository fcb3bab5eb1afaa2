"""How much waits for the reader, over HTTP: what the navigation shows beside its entry."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from services.enrolment.approvals import queries
from shared.http.request import Who, pool
from shared.postgres.transaction import transaction

router = APIRouter(prefix="/enrolment/v1/waiting", tags=["enrolments"])


class WaitingOut(BaseModel):
    """What waits for whoever asks, in figures; the requests are `GET /enrolment/v1/enrolments?to_approve=true`."""

    requests: int = Field(description="Requests for a place to answer, as manager or as programme office.")
    milestones: int = Field(description="Milestones that one's people have reached, to attest.")
    total: int = Field(description="Both together.")


@router.get("")
async def count_waiting(request: Request, who: Who) -> WaitingOut:
    """How much waits for one's word."""
    async with transaction(pool(request)) as conn:
        found = await queries.waiting(conn, who)
    return WaitingOut(requests=found.requests, milestones=found.milestones, total=found.total)
