"""Milestones over HTTP: the journey of one enrolment, and the steps along it."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.endpoints.requests import EnrolmentId
from services.enrolment.enrolments import queries as enrolments
from services.enrolment.enrolments.domain import EnrolmentAction, Status
from services.enrolment.milestones import actions, queries
from services.enrolment.milestones.domain import Journey, MilestoneStatus, possible_for
from shared.events import FeedbackPlan, Practice, Title
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.principal import Principal

router = APIRouter(prefix="/enrolment/v1/enrolments/{enrolment_id}/milestones", tags=["milestones"])

Key = Annotated[str, Path(max_length=64, description="The milestone's key within its programme version.")]


class MilestoneOut(BaseModel):
    """A step of the programme version that the cohort runs, and where it stands in this enrolment."""

    key: str
    title: Title
    practices: list[Practice]
    feedback: FeedbackPlan | None = Field(description="The feedback round that opens when it is reached; null: none.")
    status: MilestoneStatus
    take_back_before: datetime | None = Field(
        description="Until when the co-leader may undo it by themselves; null: they may not."
    )
    possible: list[EnrolmentAction] = Field(description="What can be done with it now, by whoever may.")


class JourneyOut(BaseModel):
    """All milestones of one enrolment, in the programme's order; they are reached in any."""

    LINKS: ClassVar[Links] = {
        "get_enrolment": {"enrolment_id": "enrolment_id"},
        "reach_milestone": {"enrolment_id": "enrolment_id", "key": "milestones/0/key"},
        "attest_milestone": {"enrolment_id": "enrolment_id", "key": "milestones/0/key"},
        "waive_milestone": {"enrolment_id": "enrolment_id", "key": "milestones/0/key"},
        "undo_milestone": {"enrolment_id": "enrolment_id", "key": "milestones/0/key"},
    }

    enrolment_id: UUID
    status: Status
    milestones: list[MilestoneOut]

    @classmethod
    def of(cls, journey: Journey) -> "JourneyOut":
        return cls(
            enrolment_id=journey.enrolment.id,
            status=journey.enrolment.status,
            milestones=[
                MilestoneOut(
                    key=milestone.key,
                    title=milestone.title,
                    practices=list(milestone.practices),
                    feedback=milestone.feedback,
                    status=journey.status_of(milestone.key),
                    take_back_before=journey.take_back_before(milestone.key),
                    possible=possible_for(journey, milestone.key),
                )
                for milestone in journey.plan
            ],
        )


@router.get("")
async def get_journey(request: Request, who: Who, enrolment_id: EnrolmentId) -> JourneyOut:
    """The milestones of one enrolment, for the co-leader, the manager and the programme office."""
    async with transaction(pool(request)) as conn:
        listed = await enrolments.one(conn, who, enrolment_id, now=now(request))
        return JourneyOut.of(await queries.journey(conn, listed.enrolment, listed.member))


@router.post("/{key}/reach", response_model=JourneyOut)
async def reach_milestone(request: Request, who: Who, enrolment_id: EnrolmentId, key: Key) -> Response:
    """The co-leader says that the milestone is reached; where the programme plans it, a feedback round opens."""
    return await _change(request, who, enrolment_id, key, EnrolmentAction.reach)


@router.post("/{key}/attest", response_model=JourneyOut)
async def attest_milestone(request: Request, who: Who, enrolment_id: EnrolmentId, key: Key) -> Response:
    """The manager has seen that the milestone is reached."""
    return await _change(request, who, enrolment_id, key, EnrolmentAction.attest)


@router.post("/{key}/waive", response_model=JourneyOut)
async def waive_milestone(request: Request, who: Who, enrolment_id: EnrolmentId, key: Key) -> Response:
    """The programme office lets the milestone be skipped."""
    return await _change(request, who, enrolment_id, key, EnrolmentAction.waive)


@router.post("/{key}/undo", response_model=JourneyOut)
async def undo_milestone(request: Request, who: Who, enrolment_id: EnrolmentId, key: Key) -> Response:
    """Make the milestone pending again: the programme office, or its co-leader once, within 15 minutes of reaching it.

    An open feedback round is taken back unread, and what was answered in it is destroyed. A round whose results were
    released stays, and the milestone opens no other.
    """
    return await _change(request, who, enrolment_id, key, EnrolmentAction.undo)


async def _change(request: Request, who: Principal, enrolment_id: UUID, key: str, what: EnrolmentAction) -> Response:
    async with change(request, who) as tx:
        return tx.answer(JourneyOut.of(await actions.change(tx.conn, who, enrolment_id, key, what, now=tx.now)))
