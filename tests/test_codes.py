"""Codes and what they mean: whatever the code can send is explained in both languages, and nothing else is."""

import importlib
import pkgutil
from enum import StrEnum
from types import ModuleType

import pytest

import services
import shared
from services.enrolment.cohorts.domain import CohortStatus
from services.enrolment.enrolments.domain import EnrolmentAction
from services.enrolment.enrolments.domain import Status as EnrolmentStatus
from services.enrolment.milestones.domain import MilestoneStatus
from services.enrolment.programmes.domain import VersionStatus
from services.enrolment.sign_ins.domain import Reason as NotBoundReason
from services.feedback.reports.domain import CellState
from services.feedback.responses.domain import InvitationState, LinkRefusal
from services.feedback.rounds.closing import TOO_FEW
from services.feedback.rounds.domain import Ending, NotOpened, RoundState
from services.notifications.channels.domain import Reason, ServerFault, Status
from services.notifications.kinds.every import KINDS
from services.notifications.kinds.kind import Channel
from services.portal.dashboard.domain import COHORT_STATES, DELIVERY_STATES, ENROLMENT_STATES, ROUND_STATES
from shared.events import Bucket, CloseReason, Group, PersonStatus, Practice, Role
from shared.events.codes import code_sets, titles
from shared.events.contract.asyncapi import asyncapi
from shared.events.vocabulary import REASONS, PrincipalKind
from shared.web.texts import LANGUAGES

ENUMS: dict[str, tuple[type[StrEnum], ...]] = {
    "practice": (Practice,),
    "group": (Group,),
    "role": (Role,),
    "principal_kind": (PrincipalKind,),
    "person_status": (PersonStatus,),
    "version_status": (VersionStatus,),
    "cohort_status": (CohortStatus,),
    "enrolment_status": (EnrolmentStatus,),
    "milestone_status": (MilestoneStatus,),
    "change": (EnrolmentAction,),
    "round_state": (RoundState,),
    "close_reason": (CloseReason, Ending),
    "withheld_reason": (NotOpened, Ending),
    "bucket": (Bucket,),
    "invitation_state": (InvitationState,),
    "cell_state": (CellState,),
    "channel": (Channel,),
    "delivery_status": (Status,),
    "delivery_reason": (Reason,),
    "mail_server_reason": (ServerFault,),
    "sign_in_refusal": (NotBoundReason,),
}
OTHERS = {
    "enrolment_status": {*ENROLMENT_STATES.values()},
    "cohort_status": {*COHORT_STATES.values()},
    "round_state": {*ROUND_STATES.values()},
    "delivery_status": {*DELIVERY_STATES.values()},
    "withheld_reason": {TOO_FEW},
    "round_kind": {"milestone"},  # what the programmes' plans say; the sample's and the demo's
    "notification_kind": {*KINDS},
    "dead_letter_reason": {*REASONS},
}
NO_LONGER_SENT = {"close_reason": {"complete"}}
NOT_SENT = {LinkRefusal}  # what a page says of a link: the state of its invitation, or that there is none


@pytest.mark.parametrize("name", code_sets())
def test_every_code_that_can_be_sent_has_a_meaning_and_no_other(name: str) -> None:
    sent = {str(code) for enum in ENUMS.get(name, ()) for code in enum} | OTHERS.get(name, set())
    assert code_sets()[name].keys() == sent | NO_LONGER_SENT.get(name, set())


def test_every_enumeration_of_ours_is_explained() -> None:
    explained = {enum for enums in ENUMS.values() for enum in enums} | NOT_SENT
    found = {
        value
        for package in (shared, services)
        for module in _modules(package)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, StrEnum) and value.__module__ == module.__name__
    }
    assert found - explained == set(), "give each its set in shared/events/codes.toml"


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def test_meanings_are_in_both_languages() -> None:
    assert titles().keys() == code_sets().keys()
    for meanings in (titles(), *code_sets().values()):
        for meaning in meanings.values():
            assert meaning.keys() == set(LANGUAGES)


def test_what_examples_say_is_really_sent() -> None:
    schemas = asyncapi()["components"]["schemas"]
    seen = 0
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if "x-medled-codes" in field:
                examples = [code for one in field["examples"] for code in (one if isinstance(one, dict) else [one])]
                assert set(examples) <= code_sets()[field["x-medled-codes"]].keys()
                seen += 1
    assert seen >= 8


def test_asyncapi_names_the_set_of_every_code_and_enumeration() -> None:
    components = asyncapi()["components"]
    assert components["x-medled-codes"].keys() == code_sets().keys()
    unexplained = {
        name: field
        for name, schema in components["schemas"].items()
        for field, what in schema.get("properties", {}).items()
        if field in ("kind", "reason", "channel", "status", "state") and "x-medled-codes" not in _resolved(what)
    }
    assert unexplained == {}
    assert all("x-medled-codes" in schema for schema in components["schemas"].values() if "enum" in schema)


def _resolved(field: dict[str, object]) -> dict[str, object]:
    reference = str(field.get("$ref", ""))
    found: dict[str, object] = asyncapi()["components"]["schemas"].get(reference.rsplit("/", 1)[-1], {})
    return found | field
