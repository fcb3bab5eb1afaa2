"""Answering: what a link still allows, and whether answers fit the questions. Pure rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from services.feedback.instruments.instrument import HIGHEST, LOWEST, Question
from shared.events import Group, Practice

CANNOT_JUDGE = "none"  # what the form posts for it; JSON says null


class InvitationState(StrEnum):
    issued = "issued"
    used = "used"
    declined = "declined"
    expired = "expired"
    revoked = "revoked"


@dataclass(frozen=True, slots=True)
class Invited:
    """What a link leads to. Whom it was mailed to is not known here, and need not be.

    time_zone: the one in which the round ends with a day, its subject's; None when they are known no more.
    """

    token_hash: bytes
    round_id: UUID
    state: InvitationState
    group: Group
    round_open: bool
    closes_at: datetime
    practices: tuple[Practice, ...]
    instrument_version: int
    k: int
    public_key: bytes
    subject_name: str
    time_zone: str | None


class LinkRefusal(StrEnum):
    """Why a link leads to no form."""

    unknown = "unknown"
    used = "used"
    declined = "declined"
    expired = "expired"
    revoked = "revoked"


class LinkRefusedError(Exception):
    """The link does not lead to a form (any more); `reason` says why."""

    def __init__(self, reason: LinkRefusal) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fault:
    """One answer that cannot be taken."""

    question_id: str
    code: Literal["missing", "off_scale", "unknown_question"]


class AnswersRefusedError(Exception):
    """The answers do not fit the questions; nothing was used up."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(", ".join(f"{fault.question_id}: {fault.code}" for fault in faults))
        self.faults = tuple(faults)


def must_be_open(invited: Invited | None, now: datetime) -> Invited:
    """The invitation, if it can be answered now. Raises LinkRefusedError."""
    if invited is None:
        raise LinkRefusedError(LinkRefusal.unknown)
    if invited.state is not InvitationState.issued:
        raise LinkRefusedError(LinkRefusal(invited.state))
    if not invited.round_open or now >= invited.closes_at:
        raise LinkRefusedError(LinkRefusal.expired)
    return invited


def check_answers(questions: Sequence[Question], given: Mapping[str, object]) -> dict[str, int | None]:
    """Every question with a rating from LOWEST to HIGHEST, or None for "cannot judge".

    Every question wants one of the two, so that a slip is not read as an opinion. Raises AnswersRefusedError, which
    names questions and never repeats an answer.
    """
    known = {question.id for question in questions}
    faults = [Fault(question.id, "missing") for question in questions if question.id not in given]
    faults += [Fault(key[:64], "unknown_question") for key in given if key not in known]
    faults += [Fault(key, "off_scale") for key, value in given.items() if key in known and not _on_scale(value)]
    if faults:
        raise AnswersRefusedError(faults)
    return {question.id: _rating(given[question.id]) for question in questions}


def from_form(fields: Mapping[str, str]) -> dict[str, int | str | None]:
    """Form fields as `check_answers` takes them; what is no number stays as it is and is refused there."""
    return {
        key: None if value == CANNOT_JUDGE else int(value) if value in _FORM_RATINGS else value
        for key, value in fields.items()
    }


_FORM_RATINGS = frozenset(str(rating) for rating in range(LOWEST, HIGHEST + 1))


def _on_scale(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST)


def _rating(value: object) -> int | None:
    return value if isinstance(value, int) else None
