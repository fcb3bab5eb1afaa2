"""Enrolments over HTTP: ask, answer, withdraw, and see those that concern one."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.endpoints.requests import After, EnrolmentId
from services.enrolment.enrolments import actions, queries
from services.enrolment.enrolments.domain import POSSIBLE, Enrolment, EnrolmentAction, Status
from services.enrolment.enrolments.store import ListedEnrolment
from services.enrolment.settings import EnrolmentSettings
from shared.errors import ProblemError
from shared.events import Title
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import Id, RequestBody, Who, now, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.principal import Principal

router = APIRouter(prefix="/enrolment/v1/enrolments", tags=["enrolments"])


class EnrolmentIn(RequestBody):
    """The cohort in which to ask for a place."""

    cohort_id: Id


class EnrolmentOut(BaseModel):
    """One person in one cohort."""

    LINKS: ClassVar[Links] = {
        "get_enrolment": {"enrolment_id": "id"},
        "approve_enrolment": {"enrolment_id": "id"},
        "decline_enrolment": {"enrolment_id": "id"},
        "withdraw_enrolment": {"enrolment_id": "id"},
        "get_journey": {"enrolment_id": "id"},
        "get_cohort": {"cohort_id": "cohort_id"},
        "get_programme": {"programme_id": "programme_id"},
    }

    id: UUID
    person_id: UUID
    person_name: str
    unit_id: UUID = Field(description="The person's unit now.")
    manager_id: UUID | None = Field(description="The person's manager now.")
    cohort_id: UUID
    cohort_name: str
    programme_id: UUID
    programme_title: Title
    status: Status
    changed_at: datetime = Field(description="When it came into its status.")
    requested_at: datetime
    approve_before: datetime = Field(description="When a request expires unanswered.")
    position: int | None = Field(description="Place in the waiting list, from 1; null unless waitlisted.")
    possible: list[EnrolmentAction] = Field(description="What can be done in this status, by whoever may.")

    @classmethod
    def of(cls, listed: ListedEnrolment) -> "EnrolmentOut":
        enrolment, member = listed.enrolment, listed.member
        return cls(
            id=enrolment.id,
            person_id=enrolment.person_id,
            person_name=listed.person_name,
            unit_id=member.unit_id,
            manager_id=member.manager_id,
            cohort_id=enrolment.cohort_id,
            cohort_name=listed.cohort_name,
            programme_id=enrolment.programme_id,
            programme_title=listed.programme_title,
            status=enrolment.status,
            changed_at=listed.changed_at,
            requested_at=enrolment.requested_at,
            approve_before=enrolment.approve_before,
            position=listed.position,
            possible=list(POSSIBLE[enrolment.status]),
        )


@router.get("")
async def list_enrolments(
    request: Request,
    who: Who,
    after: After,
    *,
    mine: Annotated[bool, Query(description="One's own, the newest first.")] = False,
    to_approve: Annotated[bool, Query(description="Requests that wait for one's answer, the oldest first.")] = False,
    cohort: Annotated[UUID | None, Query(description="Those of a cohort, in order; for the programme office.")] = None,
    status: Annotated[Status | None, Query(description="Only with `cohort`.")] = None,
    limit: Limit = 50,
) -> Page[EnrolmentOut]:
    """Enrolments that concern one: exactly one of `mine`, `to_approve` and `cohort` says which."""
    if [mine, to_approve, cohort is not None].count(True) != 1:
        raise _choose_one()
    async with transaction(pool(request)) as conn:
        if mine:
            page = await queries.mine(conn, who, after=after, limit=limit)
        elif cohort is None:
            page = await queries.to_decide(conn, who, after=after, limit=limit, now=now(request))
        else:
            page = await queries.of_cohort(conn, who, cohort, status=status, after=after, limit=limit, now=now(request))
    return page.of(EnrolmentOut.of)


@router.get("/{enrolment_id}")
async def get_enrolment(request: Request, who: Who, enrolment_id: EnrolmentId) -> EnrolmentOut:
    """One enrolment, for the co-leader, the manager and the programme office."""
    async with transaction(pool(request)) as conn:
        return EnrolmentOut.of(await queries.one(conn, who, enrolment_id, now=now(request)))


@router.post("", status_code=201, response_model=EnrolmentOut)
async def request_enrolment(request: Request, who: Who, wanted: EnrolmentIn) -> Response:
    """Ask for a place for oneself. The manager answers; a request nobody answers in time expires."""
    settings: EnrolmentSettings = request.app.state.settings
    return await _change(
        request,
        who,
        lambda conn, now: actions.request(conn, who, wanted.cohort_id, now=now, answer_within=settings.answer_within),
        status=201,
    )


@router.post("/{enrolment_id}/approve", response_model=EnrolmentOut)
async def approve_enrolment(request: Request, who: Who, enrolment_id: EnrolmentId) -> Response:
    """Say yes, as the person's manager: active while there is a place, else waitlisted. See `status`."""
    return await _change(request, who, lambda conn, now: actions.approve(conn, who, enrolment_id, now=now))


@router.post("/{enrolment_id}/decline", response_model=EnrolmentOut)
async def decline_enrolment(request: Request, who: Who, enrolment_id: EnrolmentId) -> Response:
    """Say no, as the person's manager."""
    return await _change(request, who, lambda conn, now: actions.decline(conn, who, enrolment_id, now=now))


@router.post("/{enrolment_id}/withdraw", response_model=EnrolmentOut)
async def withdraw_enrolment(request: Request, who: Who, enrolment_id: EnrolmentId) -> Response:
    """End an enrolment early, as oneself, the manager or the programme office; the next one waiting gets the place."""
    return await _change(request, who, lambda conn, now: actions.withdraw(conn, who, enrolment_id, now=now))


_Action = Callable[[Connection, datetime], Awaitable[Enrolment]]


async def _change(request: Request, who: Principal, action: _Action, *, status: int = 200) -> Response:
    """One action on one transaction, answered with the enrolment as it stands after it."""
    async with change(request, who, status=status) as tx:
        enrolment = await action(tx.conn, tx.now)
        return tx.answer(EnrolmentOut.of(await queries.shown(tx.conn, enrolment.id)))


def _choose_one() -> ProblemError:
    return ProblemError(
        422,
        "invalid-request",
        "The request is not valid",
        "Exactly one of `mine`, `to_approve` and `cohort` says which enrolments are meant.",
        field="mine",
        remedy="Send `mine=true`, `to_approve=true` or `cohort=<id>`.",
    )
