"""Pages of the manager: requests to answer, milestones to attest."""

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from services.enrolment.endpoints.forms import confirm, submit
from services.enrolment.endpoints.requests import After, EnrolmentId
from services.enrolment.enrolments import actions, queries
from services.enrolment.enrolments.domain import EnrolmentAction
from services.enrolment.milestones import actions as milestone_actions
from services.enrolment.milestones import queries as milestones
from shared.http.pagination import Cursor, decode_cursor, instant
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.same_origin import form_guard
from shared.web.render import render

router = APIRouter(prefix="/enrolment/approvals", include_in_schema=False)
FORM = [Depends(form_guard)]
APPROVALS = "/enrolment/approvals"
PER_PAGE = 25


@router.get("")
async def approvals(request: Request, who: Who, after: After, attest: Cursor = None) -> HTMLResponse:
    """Requests and milestones that wait for me: two lists, `attest` is the cursor of the second."""
    waiting = decode_cursor(attest, instant, UUID, str) if attest else None
    async with transaction(pool(request)) as conn:
        page = await queries.to_decide(conn, who, after=after, limit=PER_PAGE, now=now(request))
        to_attest = await milestones.to_attest(conn, who, after=waiting, limit=PER_PAGE, now=now(request))
    return render(request, who, "approvals.html", requests=page, to_attest=to_attest)


@router.get("/{enrolment_id}/decline")
async def confirm_declining(request: Request, who: Who, enrolment_id: EnrolmentId) -> HTMLResponse:
    """Ask before declining: the answer is mailed at once."""
    async with transaction(pool(request)) as conn:
        listed = await queries.one(conn, who, enrolment_id, now=now(request))
    return confirm(
        request, who, "decline", action=f"{APPROVALS}/{enrolment_id}/decline", back=APPROVALS,
        person=listed.person_name, cohort=listed.cohort_name,
    )  # fmt: skip


@router.post("/{enrolment_id}/{answer}", dependencies=FORM)
async def answer(
    request: Request, who: Who, enrolment_id: EnrolmentId, answer: Literal["approve", "decline"]
) -> Response:
    """Answer a request, then show what came of it."""
    decide = actions.approve if answer == "approve" else actions.decline
    return await submit(
        request,
        lambda conn, now: decide(conn, who, enrolment_id, now=now),
        back=APPROVALS,
        done="answered",
        then=f"{APPROVALS}/{enrolment_id}/answered",
    )


@router.get("/{enrolment_id}/answered")
async def answered(request: Request, who: Who, enrolment_id: UUID) -> HTMLResponse:
    """What came of an answer, as it stands now."""
    async with transaction(pool(request)) as conn:
        listed = await queries.one(conn, who, enrolment_id, now=now(request))
    return render(request, who, "answered.html", listed=listed)


@router.post("/{enrolment_id}/milestones/{key}/attest", dependencies=FORM)
async def attest(request: Request, who: Who, enrolment_id: EnrolmentId, key: str) -> Response:
    """Attest a milestone."""
    return await submit(
        request,
        lambda conn, now: milestone_actions.change(conn, who, enrolment_id, key, EnrolmentAction.attest, now=now),
        back=APPROVALS,
        done="attested",
    )
