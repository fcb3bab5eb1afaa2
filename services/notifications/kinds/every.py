"""Every kind of notification there is. One is added by its record here and its texts (CONTRIBUTING.md)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.notifications.kinds.kind import Channel, Kind, Message, Params, Say, To, never
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
    ResultsReleased,
    RoundWithheld,
    SignInChanged,
    TeamsChanged,
)
from shared.events.enrolment import EnrolmentFact

# Why a round has no results. Other reasons are things the co-leader did, or had done to them, and knows of.
WORTH_TELLING = ("too_few_answers", "asked_recently", "nobody_to_ask", "not_known_yet", "team_changed")


def _place(fact: EnrolmentFact, **more: Any) -> dict[str, Any]:
    ids = {name: str(getattr(fact, name)) for name in ("enrolment_id", "programme_id", "cohort_id")}
    return ids | more


def _person(fact: EnrolmentFact, **more: Any) -> list[To]:
    return [To(fact.person_id, _place(fact, **more))]


def _approver(fact: EnrolmentRequested | EnrolmentApproverChanged) -> list[To]:
    return [To(fact.manager_id, _place(fact, person_id=str(fact.person_id)))]


def _respondent(fact: InvitationIssued) -> list[To]:
    params = {
        "invitation_id": str(fact.invitation_id), "person_id": str(fact.subject_person_id), "group": fact.group.value,
    }  # fmt: skip
    return [To(fact.respondent_id, params)]


def _withheld(fact: RoundWithheld) -> Iterator[To]:
    if fact.reason in WORTH_TELLING:
        yield To(fact.subject_person_id, {"round_id": str(fact.round_id), "reason": fact.reason})


def _signed_in_otherwise(fact: SignInChanged) -> Iterator[To]:
    if fact.change in ("replaced", "ended"):
        elsewhere = {"known_before": True} if fact.address is not None else {}
        yield To(fact.person_id, {"change": fact.change, **elsewhere}, known_address=fact.address)


def _overseer(fact: TeamsChanged) -> Iterator[To]:
    if fact.teams is not Bucket.none:
        params = {
            "import_id": str(fact.import_id), "teams": fact.teams.value,
            "unit_ids": [str(unit_id) for unit_id in fact.unit_ids], "may_read": fact.may_read,
        }  # fmt: skip
        yield To(fact.person_id, params)


def _teams(params: Params, units: Sequence[str], say: Say) -> Mapping[str, str]:
    """How many teams changed and where; units that are not known here yet are left out."""
    where = say("teams_changed.where", units=", ".join(units)) if units else ""
    return {"teams": say(f"teams_changed.teams.{params['teams']}"), "where": where}


_TO_MAIL = (Channel.MAIL,)

EVERY = (
    Kind(
        name="invitation",
        may_name="nobody",
        mandatory="It carries the only way to answer, and a group from which some opt out hides fewer.",
        also_to_whoever_left=False,
        causes={InvitationIssued: _respondent},
        pointless_after=lambda fact: fact.closes_at,
        channels=_TO_MAIL,
        link=lambda to, params: to.answering(UUID(params["invitation_id"])),
        texts=("self", "manager", "other"),
        text=lambda params: params["group"] if params["group"] in ("self", "manager") else "other",
    ),
    Kind(
        name="approval_needed",
        may_name="recipient",
        mandatory="Somebody waits for the answer, and the request lapses without it.",
        also_to_whoever_left=False,
        causes={EnrolmentRequested: _approver, EnrolmentApproverChanged: _approver},
        pointless_after=lambda fact: fact.approve_before,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/enrolment/approvals"),
    ),
    Kind(
        name="enrolment_active",
        may_name="recipient",
        mandatory=None,
        also_to_whoever_left=False,
        causes={EnrolmentActivated: lambda fact: _person(fact, promoted=fact.promoted)},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/enrolment/"),
        texts=("direct", "promoted"),
        text=lambda params: "promoted" if params.get("promoted") else "direct",
    ),
    Kind(
        name="enrolment_waitlisted",
        may_name="recipient",
        mandatory=None,
        also_to_whoever_left=False,
        causes={EnrolmentWaitlisted: _person},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/enrolment/"),
    ),
    Kind(
        name="enrolment_declined",
        may_name="recipient",
        mandatory=None,
        also_to_whoever_left=False,
        causes={EnrolmentDeclined: _person},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/enrolment/"),
    ),
    Kind(
        name="enrolment_ended",
        may_name="recipient",
        mandatory=None,
        also_to_whoever_left=False,
        causes={
            EnrolmentExpired: lambda fact: _person(fact, how="expired"),
            EnrolmentWithdrawn: lambda fact: _person(fact, how="withdrawn"),
        },
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/enrolment/"),
        texts=("expired", "withdrawn"),
        text=lambda params: params["how"],
    ),
    Kind(
        name="results_released",
        may_name="nobody",
        mandatory=None,
        also_to_whoever_left=False,
        causes={ResultsReleased: lambda fact: [To(fact.subject_person_id, {"round_id": str(fact.round_id)})]},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, params: to.page(f"/feedback/rounds/{params['round_id']}"),
    ),
    Kind(
        name="round_withheld",
        may_name="nobody",
        mandatory=None,
        also_to_whoever_left=False,
        causes={RoundWithheld: _withheld},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, params: to.page(f"/feedback/rounds/{params['round_id']}"),
        texts=WORTH_TELLING,
        text=lambda params: params["reason"],
    ),
    Kind(
        name="sign_in_changed",
        may_name="recipient",
        mandatory="Somebody else may have become this person.",
        also_to_whoever_left=True,
        causes={SignInChanged: _signed_in_otherwise},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, _: to.page("/"),
        texts=("replaced", "ended"),
        text=lambda params: params["change"],
    ),
    Kind(
        name="teams_changed",
        may_name="recipient",
        mandatory="Whoever imports people must not be able to do it unseen.",
        also_to_whoever_left=True,
        causes={TeamsChanged: _overseer},
        pointless_after=never,
        channels=_TO_MAIL,
        link=lambda to, params: to.page(
            f"/enrolment/imports/{params['import_id']}" if params["may_read"] else "/enrolment/"
        ),
        texts=("report", "units"),
        text=lambda params: "report" if params["may_read"] else "units",
        words=_teams,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in EVERY}


def messages_for(fact: Event, kinds: Iterable[Kind] = EVERY) -> Iterator[Message]:
    """Every message that the fact calls for, of any kinds and to any number of people."""
    for kind in kinds:
        yield from kind.messages_for(fact)
