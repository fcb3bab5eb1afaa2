"""Answering by machine: the same as the page, as JSON.

There is no `Idempotency-Key` here: the invitation is the key, and nothing of the body is kept but the sealed ballot.
"""

from datetime import datetime
from typing import ClassVar, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from services.feedback.ballots.sealing import ATTRIBUTABLE
from services.feedback.instruments.instrument import HIGHEST, LOWEST
from services.feedback.responses import actions
from services.feedback.responses.domain import AnswersRefusedError, Fault, LinkRefusal, LinkRefusedError
from services.feedback.responses.requests import MOST_BYTES, Token, status_of
from shared.errors import FieldFault, ProblemError
from shared.events import Group, Practice
from shared.http.links import Links
from shared.http.request import RequestBody, now, pool
from shared.postgres.transaction import transaction

router = APIRouter(prefix="/feedback/v1/responses", tags=["responses"])


class Question(BaseModel):
    """One statement to rate."""

    id: str
    practice: Practice
    sv: str
    en: str


class Form(BaseModel):
    """What a link asks, and how its answers will be treated."""

    LINKS: ClassVar[Links] = {"respond": {"token": "$request.path.token"}, "decline": {"token": "$request.path.token"}}

    subject_name: str = Field(description="Whom the feedback is for.")
    group: Group
    attributable: bool = Field(description="True: the subject will know that these answers are the respondent's.")
    k: int = Field(description="Fewest answers of a group that are shown, unless attributable.")
    closes_at: datetime
    questions: list[Question]


class Answers(RequestBody):
    """Every question of the form with a rating from 1 (never) to 5 (almost always), or null for "cannot judge"."""

    answers: dict[str, int | None] = Field(
        max_length=100, examples=[{"leading_meetings.1": 4, "leading_meetings.2": None}]
    )


class Receipt(BaseModel):
    """All that is said of a response."""

    state: Literal["used", "declined"]


@router.get("/{token}")
async def read_form(request: Request, token: Token) -> Form:
    """The questions behind a link. Reading them uses up nothing."""
    try:
        async with pool(request).acquire() as conn:
            invited = await actions.find_invitation(conn, token, now(request))
    except LinkRefusedError as refused:
        raise problem(refused) from None
    return Form(
        subject_name=invited.subject_name,
        group=invited.group,
        attributable=invited.group in ATTRIBUTABLE,
        k=invited.k,
        closes_at=invited.closes_at,
        questions=[
            Question(id=question.id, practice=question.practice, sv=question.text["sv"], en=question.text["en"])
            for question in actions.questions_for(invited)
        ],
    )


@router.post("/{token}", status_code=201, max_body_size=MOST_BYTES)
async def respond(request: Request, token: Token, body: Answers) -> Receipt:
    """Answer, once. 410 when the link was used before; 422 names the questions at fault and uses up nothing."""
    try:
        async with transaction(pool(request)) as conn:
            await actions.answer(conn, token, body.answers, now(request))
    except LinkRefusedError as refused:
        raise problem(refused) from None
    except AnswersRefusedError as refused:
        raise _invalid(refused) from None
    return Receipt(state="used")


@router.post("/{token}/decline", max_body_size=MOST_BYTES)
async def decline(request: Request, token: Token) -> Receipt:
    """Use up the link without answering."""
    try:
        async with transaction(pool(request)) as conn:
            await actions.decline(conn, token, now(request))
    except LinkRefusedError as refused:
        raise problem(refused) from None
    return Receipt(state="declined")


def problem(refused: LinkRefusedError) -> ProblemError:
    title, detail, remedy = _REFUSALS[refused.reason]
    return ProblemError(
        status_of(refused.reason), f"link-{refused.reason}", title, detail, field="token", remedy=remedy
    )


_NOTHING_TO_DO = "There is nothing to do."
_REFUSALS = {
    LinkRefusal.unknown: (
        "Unknown link", "There is no invitation with this token, or it is long over.",
        "Send the whole token, as it stands at the end of the link in the mail.",
    ),
    LinkRefusal.used: ("Link already used", "An answer was received; each link is good for one.", _NOTHING_TO_DO),
    LinkRefusal.declined: ("Declined", "The respondent declined with this link.", _NOTHING_TO_DO),
    LinkRefusal.expired: ("Round ended", "The round has ended and takes no more answers.", _NOTHING_TO_DO),
    LinkRefusal.revoked: ("Invitation taken back", "The round, or the invitation to it, ended early.", _NOTHING_TO_DO),
}  # fmt: skip


def _invalid(refused: AnswersRefusedError) -> ProblemError:
    return ProblemError(
        422, "invalid-answers", "The answers do not fit the questions", "The link is not used up.",
        remedy="Answer every question of the form and send all of them again.",
        errors=[_error(fault) for fault in refused.faults],
    )  # fmt: skip


def _error(fault: Fault) -> FieldFault:
    detail, remedy = {
        "missing": ("There is no answer.", f"Add a rating from {LOWEST} to {HIGHEST}, or null."),
        "off_scale": ("The rating is not on the scale.", f"Send a whole number from {LOWEST} to {HIGHEST}, or null."),
        "unknown_question": ("The form has no such question.", "Leave it out."),
    }[fault.code]
    return FieldFault(field=f"answers.{fault.question_id}", detail=detail, remedy=remedy)
