"""The page behind the link in an invitation. No session is needed, and looking at it uses up nothing."""

from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from services.feedback.instruments.instrument import HIGHEST, LOWEST
from services.feedback.responses import actions
from services.feedback.responses.domain import (
    CANNOT_JUDGE,
    AnswersRefusedError,
    Invited,
    LinkRefusedError,
    from_form,
)
from services.feedback.responses.requests import MOST_BYTES, Token, status_of
from shared.http.request import now, pool
from shared.postgres.transaction import transaction
from shared.web.render import render

router = APIRouter(prefix="/feedback/r", include_in_schema=False)

# The address holds the token: it goes to no other page, and no shared cache keeps what stands there.
_HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
_CHOICES = (*(str(rating) for rating in range(LOWEST, HIGHEST + 1)), CANNOT_JUDGE)


@router.api_route("/{token}", methods=["GET", "HEAD"])
async def form(request: Request, token: Token) -> HTMLResponse:
    """The questions."""
    try:
        invited = await _look(request, token)
    except LinkRefusedError as refused:
        return _refusal(request, refused)
    return _form(request, invited)


@router.post("/{token}", max_body_size=MOST_BYTES)
async def answer(request: Request, token: Token) -> HTMLResponse:
    """Take the answers, or show the form again with them and what is missing."""
    async with request.form(max_files=0, max_fields=200) as fields:
        sent = {name: value for name, value in fields.items() if isinstance(value, str)}
    try:
        invited = await _look(request, token)
        # What a browser's helpers add to a form is not the respondent's mistake.
        given = {question.id: sent[question.id] for question in actions.questions_for(invited) if question.id in sent}
        async with transaction(pool(request)) as conn:
            await actions.answer(conn, token, from_form(given), now(request))
    except LinkRefusedError as refused:
        return _refusal(request, refused)
    except AnswersRefusedError as refused:
        faulty = {fault.question_id for fault in refused.faults}
        return _form(request, invited, given=given, faulty=faulty, status=422)
    return _page(request, "done.html", done="thanks")


@router.api_route("/{token}/decline", methods=["GET", "HEAD"])
async def ask_decline(request: Request, token: Token) -> HTMLResponse:
    """Ask whether the respondent means it."""
    try:
        invited = await _look(request, token)
    except LinkRefusedError as refused:
        return _refusal(request, refused)
    back = request.url.path.removesuffix("/decline")
    return _page(request, "decline.html", back=back, invited=invited)


@router.post("/{token}/decline", max_body_size=MOST_BYTES)
async def decline(request: Request, token: Token) -> HTMLResponse:
    """Use up the link without an answer."""
    try:
        async with transaction(pool(request)) as conn:
            await actions.decline(conn, token, now(request))
    except LinkRefusedError as refused:
        return _refusal(request, refused)
    return _page(request, "done.html", done="declined")


async def _look(request: Request, token: str) -> Invited:
    async with pool(request).acquire() as conn:
        return await actions.find_invitation(conn, token, now(request))


def _form(
    request: Request,
    invited: Invited,
    *,
    given: Mapping[str, str] | None = None,
    faulty: Collection[str] = (),
    status: int = 200,
) -> HTMLResponse:
    questions = actions.questions_for(invited)
    by_practice = [(practice, list(of)) for practice, of in groupby(questions, lambda question: question.practice)]
    return _page(
        request, "respond.html", time_zone=invited.time_zone, status=status, invited=invited,
        questions=questions, by_practice=by_practice, choices=_CHOICES, given=given or {}, faulty=faulty,
    )  # fmt: skip


def _refusal(request: Request, refused: LinkRefusedError) -> HTMLResponse:
    status = status_of(refused.reason)
    return _page(request, "refused.html", status=status, reason=refused.reason.value)


def _page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """In the language that the link in the mail asks for, or the browser: whose link it is, nobody here knows."""
    return render(request, None, template, status=status, headers=_HEADERS, **context)
