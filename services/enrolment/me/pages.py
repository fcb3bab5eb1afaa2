"""Pages of the co-leader: what I take part in, how far I have come, what I can ask for."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.enrolment.approvals import queries as approvals
from services.enrolment.cohorts import store as cohorts
from services.enrolment.cohorts.domain import shown
from services.enrolment.endpoints.forms import confirm, submit
from services.enrolment.endpoints.requests import EnrolmentId
from services.enrolment.enrolments import actions, queries
from services.enrolment.enrolments.domain import OPEN, EnrolmentAction, Status
from services.enrolment.enrolments.store import ListedEnrolment
from services.enrolment.milestones import actions as milestone_actions
from services.enrolment.milestones import queries as milestones
from services.enrolment.milestones.domain import TAKE_BACK_MINUTES, find
from services.enrolment.settings import EnrolmentSettings
from shared.errors import NotAllowedError
from shared.http.pagination import Cursor, Page, decode_cursor
from shared.http.request import Who, now, pool
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.principal import Principal
from shared.security.same_origin import form_guard
from shared.web.render import render

router = APIRouter(prefix="/enrolment", include_in_schema=False)
FORM = [Depends(form_guard)]
ME = "/enrolment/me"
PER_PAGE = 25


@router.get("/")
async def front() -> RedirectResponse:
    """The navigation leads here."""
    return RedirectResponse(ME, 307)


@router.get("/me")
async def me(request: Request, who: Who, cursor: Cursor = None) -> HTMLResponse:
    """What I take part in, and the cohorts that are open to me; `cursor` is theirs."""
    after = decode_cursor(cursor, date.fromisoformat, UUID) if cursor else None
    async with transaction(pool(request)) as conn:
        waiting = await approvals.waiting(conn, who)
        mine = (await queries.mine(conn, who, after=None, limit=50)).items
        current = [each for each in mine if each.enrolment.status in OPEN]
        journeys = await milestones.journeys(conn, [(each.enrolment, each.member) for each in current])
        open_cohorts = (
            await cohorts.open_to(conn, who.person_id, after=after, limit=PER_PAGE)
            if who.person_id
            else Page[cohorts.ListedCohort](items=[])
        )
    return render(
        request,
        who,
        "me.html",
        waiting=waiting,
        ongoing=[(each, journeys[each.enrolment.id]) for each in current],
        past=[each for each in mine if each.enrolment.status not in OPEN],
        cohorts=[(each, shown(each.cohort, each.taken)) for each in open_cohorts.items],
        next=open_cohorts.next,
    )


@router.post("/me/ask", dependencies=FORM)
async def ask(request: Request, who: Who, cohort_id: Annotated[UUID, Form()]) -> Response:
    """Ask for a place."""
    settings: EnrolmentSettings = request.app.state.settings
    return await submit(
        request,
        lambda conn, now: actions.request(conn, who, cohort_id, now=now, answer_within=settings.answer_within),
        back=ME,
        done="asked",
    )


@router.get("/me/{enrolment_id}/milestones/{key}/reach")
async def confirm_reaching(request: Request, who: Who, enrolment_id: EnrolmentId, key: str) -> HTMLResponse:
    """Say before a milestone is reached whom its round will ask, and that the last one completes the enrolment."""
    settings: EnrolmentSettings = request.app.state.settings
    async with transaction(pool(request)) as conn:
        listed = await _ones_own(conn, who, enrolment_id, now(request))
        journey = await milestones.journey(conn, listed.enrolment, listed.member)
        milestone = find(journey.plan, key)
        asked = (
            await milestones.asked_at_most(conn, listed.member, milestone.feedback, k=settings.feedback_k)
            if milestone.feedback
            else {}
        )
    return render(
        request, who, "reach.html", milestone=milestone, asked=asked, completes=journey.completes_with(key),
        minutes=TAKE_BACK_MINUTES, action=f"{ME}/{enrolment_id}/milestones/{key}/reach", back=ME,
    )  # fmt: skip


@router.post("/me/{enrolment_id}/milestones/{key}/undo", dependencies=FORM)
async def take_back(request: Request, who: Who, enrolment_id: EnrolmentId, key: str) -> Response:
    """It was reached by mistake."""
    return await submit(
        request,
        lambda conn, now: milestone_actions.change(conn, who, enrolment_id, key, EnrolmentAction.undo, now=now),
        back=ME,
        done="undone",
    )


@router.post("/me/{enrolment_id}/milestones/{key}/reach", dependencies=FORM)
async def reach(request: Request, who: Who, enrolment_id: EnrolmentId, key: str) -> Response:
    """Say that a milestone is reached."""
    return await submit(
        request,
        lambda conn, now: milestone_actions.change(conn, who, enrolment_id, key, EnrolmentAction.reach, now=now),
        back=ME,
        done="reached",
    )


@router.get("/me/{enrolment_id}/withdraw")
async def confirm_withdrawal(request: Request, who: Who, enrolment_id: EnrolmentId) -> HTMLResponse:
    """Ask before ending an enrolment: it cannot be undone."""
    async with transaction(pool(request)) as conn:
        listed = await _ones_own(conn, who, enrolment_id, now(request))
    about = "take_back" if listed.enrolment.status is Status.requested else "withdraw"
    return confirm(request, who, about, action=f"{ME}/{enrolment_id}/withdraw", back=ME, cohort=listed.cohort_name)


@router.post("/me/{enrolment_id}/withdraw", dependencies=FORM)
async def withdraw(request: Request, who: Who, enrolment_id: EnrolmentId) -> Response:
    """End an enrolment."""
    return await submit(
        request, lambda conn, now: actions.withdraw(conn, who, enrolment_id, now=now), back=ME, done="withdrawn"
    )


async def _ones_own(conn: Connection, who: Principal, enrolment_id: UUID, now: datetime) -> ListedEnrolment:
    listed = await queries.one(conn, who, enrolment_id, now=now)
    if listed.enrolment.person_id != who.person_id:
        raise NotAllowedError("This page is for the co-leader.")
    return listed
