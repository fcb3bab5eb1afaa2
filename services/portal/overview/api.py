"""The figures over HTTP."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.portal.dashboard import readers
from services.portal.dashboard.domain import Within
from services.portal.stream.live import live
from shared.events import Practice

router = APIRouter(prefix="/portal/v1", tags=["figures"])


class EnrolmentFigures(BaseModel):
    """Enrolments, each counted once, in the state it is in now. Together they are all that were ever asked for."""

    requested: int = Field(description="Requests that wait for an answer.")
    approved: int = Field(description="Approved, while the event that says active or waitlisted is still on its way.")
    waitlisted: int = Field(description="On a waiting list.")
    active: int = Field(description="With a place, and not completed: the co-leaders of today.")
    completed: int = Field(description="With every milestone reached, attested or waived.")
    declined: int = Field(description="Requests that were declined.")
    withdrawn: int = Field(description="Ended early.")
    expired: int = Field(description="Requests that nobody answered in time, or whose cohort closed before a place.")


class MilestoneFigures(BaseModel):
    """Milestones of all enrolments, in the state they are in now; one that was undone is in none of these."""

    reached: int = Field(description="Reached, whether or not a manager has attested them.")
    attested: int = Field(description="Of those reached: attested by a manager.")
    waived: int = Field(description="Waived by the programme office; not counted as reached.")


class RoundFigures(BaseModel):
    """Feedback rounds, each counted once, in the state it is in now. Together they are all that were ever planned."""

    open: int = Field(description="Taking answers.")
    closed: int = Field(description="Closed, while the event that says released or withheld is still on its way.")
    released: int = Field(description="With results that the co-leader can read.")
    withheld: int = Field(description="Closed or never opened, with nothing that may be shown.")


class DeliveryFigures(BaseModel):
    """Messages of the whole organisation, each counted once by what was last said of it; not attempts."""

    sent: int = Field(description="Accepted by the channel.")
    deferred: int = Field(description="To be tried again.")
    failed: int = Field(description="Given up.")


class CohortFigures(BaseModel):
    """Cohorts, each counted once, in the state it is in now; one that is only planned is in none of these."""

    open: int = Field(description="People can ask for a place, full or not.")
    running: int = Field(description="Running.")
    closed: int = Field(description="Closed.")


class Overview(BaseModel):
    """How things stand as of one position of the stream. Every figure is a state of now, none a count of events."""

    position: int = Field(description="The newest event counted; go on from here with `after`. 0: none yet.")
    newest_at: datetime | None = Field(description="When the newest event kept in the stream happened; null: none.")
    enrolments: EnrolmentFigures
    milestones: MilestoneFigures
    practices: dict[Practice, int] = Field(
        description="For each practice the milestones reached that train it; one milestone counts for each it trains."
    )
    rounds: RoundFigures
    deliveries: DeliveryFigures | None = Field(
        description="Null for a unit or a programme: public events do not say which part a message concerns."
    )
    cohorts: CohortFigures = Field(description="Of a unit: those that its people take or took part in.")
    programmes: int = Field(
        description="Programmes ever published in some version; of a unit, those its people take or took part in."
    )


@router.get("/overview", response_model=Overview)
async def overview(request: Request, within: Annotated[Within, Depends(readers.within)]) -> Response:
    """How many enrolments, milestones, rounds and deliveries stand in each state, as of a stream position.

    Figures are at most a second old. Follow `GET /portal/v1/stream?after=<position>` to stay current.
    """
    snapshot = await live(request).snapshots.recent(within)
    return Response(snapshot.json, media_type="application/json")
