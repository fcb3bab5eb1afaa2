"""Which fact makes which message, to whom; and why a message goes to nobody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.notifications.channels.domain import Kind, Reason
from shared.events import (
    Bucket,
    EnrolmentActivated,
    EnrolmentApproverChanged,
    EnrolmentDeclined,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    Event,
    InvitationIssued,
    PersonStatus,
    ResultsReleased,
    RoundWithheld,
    SignInChanged,
    TeamsChanged,
)
from shared.events.enrolment import EnrolmentFact

# Adding a message: a Kind, its fact here, its case in `message_for`, its words in texts.toml.
FACTS: tuple[type[Event], ...] = (
    InvitationIssued,
    EnrolmentRequested,
    EnrolmentApproverChanged,
    EnrolmentActivated,
    EnrolmentWaitlisted,
    EnrolmentDeclined,
    EnrolmentExpired,
    EnrolmentWithdrawn,
    ResultsReleased,
    RoundWithheld,
    SignInChanged,
    TeamsChanged,
)


# Why a round has no results. Other reasons are things the co-leader did, or had done to them, and knows of.
WORTH_TELLING = ("too_few_answers", "asked_recently", "nobody_to_ask", "not_known_yet", "team_changed")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a fact calls for. `params` holds ids and codes only, and becomes the row's jsonb.

    known_address: where it goes, instead of to the address the person has today.
    """

    kind: Kind
    recipient_id: UUID | None
    params: dict[str, Any]
    pointless_after: datetime | None = None
    known_address: str | None = None

    def needs(self) -> Iterator[tuple[str, UUID]]:
        """What must be known before it can be queued, as (what, id)."""
        if self.recipient_id is not None:
            yield "person", self.recipient_id
        for what in ("person", "programme", "cohort"):
            if f"{what}_id" in self.params:
                yield what, UUID(self.params[f"{what}_id"])


@dataclass(frozen=True, slots=True)
class Recipient:
    """What the directory says about a person, as far as sending needs it."""

    id: UUID
    status: str
    locale: str
    has_address: bool


_OUTCOMES: Mapping[type[EnrolmentFact], tuple[Kind, Mapping[str, str]]] = {
    EnrolmentWaitlisted: (Kind.ENROLMENT_WAITLISTED, {}),
    EnrolmentDeclined: (Kind.ENROLMENT_DECLINED, {}),
    EnrolmentExpired: (Kind.ENROLMENT_ENDED, {"how": "expired"}),
    EnrolmentWithdrawn: (Kind.ENROLMENT_ENDED, {"how": "withdrawn"}),
}


def message_for(fact: Event) -> Message | None:
    """The message this fact calls for, or None when it calls for none."""
    match fact:
        case InvitationIssued():
            params = {
                "invitation_id": str(fact.invitation_id),
                "person_id": str(fact.subject_person_id),
                "group": fact.group.value,
            }
            return Message(Kind.INVITATION, fact.respondent_id, params, fact.closes_at)
        case EnrolmentRequested() | EnrolmentApproverChanged():
            params = {"person_id": str(fact.person_id), **_place(fact)}
            return Message(Kind.APPROVAL_NEEDED, fact.manager_id, params, fact.approve_before)
        case EnrolmentActivated():
            return Message(Kind.ENROLMENT_ACTIVE, fact.person_id, {**_place(fact), "promoted": fact.promoted})
        case EnrolmentWaitlisted() | EnrolmentDeclined() | EnrolmentExpired() | EnrolmentWithdrawn():
            kind, more = _OUTCOMES[type(fact)]
            return Message(kind, fact.person_id, {**_place(fact), **more})
        case ResultsReleased():
            return Message(Kind.RESULTS_RELEASED, fact.subject_person_id, {"round_id": str(fact.round_id)})
        case RoundWithheld() if fact.reason in WORTH_TELLING:
            params = {"round_id": str(fact.round_id), "reason": fact.reason}
            return Message(Kind.ROUND_WITHHELD, fact.subject_person_id, params)
        case SignInChanged() | TeamsChanged():
            return _notice(fact)
        case _:
            return None


def _notice(fact: SignInChanged | TeamsChanged) -> Message | None:
    if isinstance(fact, TeamsChanged):
        params: dict[str, Any] = {
            "import_id": str(fact.import_id),
            "teams": fact.teams.value,
            "unit_ids": [str(unit_id) for unit_id in fact.unit_ids],
            "may_read": fact.may_read,
        }
        return Message(Kind.TEAMS_CHANGED, fact.person_id, params) if fact.teams is not Bucket.none else None
    if fact.change not in ("replaced", "ended"):
        return None
    elsewhere = {"known_before": True} if fact.address is not None else {}
    return Message(
        Kind.SIGN_IN_CHANGED, fact.person_id, {"change": fact.change, **elsewhere}, known_address=fact.address
    )


def _place(fact: EnrolmentFact) -> dict[str, str]:
    return {
        "enrolment_id": str(fact.enrolment_id),
        "programme_id": str(fact.programme_id),
        "cohort_id": str(fact.cohort_id),
    }


def reason_to_suppress(message: Message, recipient: Recipient | None, *, revoked: bool) -> Reason | None:
    """Why this message must not be sent, or None. `recipient` is None when the fact named nobody to tell."""
    if revoked:
        return Reason.INVITATION_REVOKED
    if recipient is None:
        return Reason.NO_RECIPIENT
    if recipient.status == PersonStatus.inactive and not message.kind.goes_to_whoever_left:
        return Reason.RECIPIENT_INACTIVE
    if message.known_address is None and not recipient.has_address:
        return Reason.NO_ADDRESS
    return None


def language(locale: str) -> str:
    """The language of the texts for a BCP 47 tag: Swedish for Swedish, English for everybody else."""
    return "sv" if locale.lower().split("-")[0] == "sv" else "en"
