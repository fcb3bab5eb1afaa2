"""The vocabulary of the events: closed sets as enums, and the field types the events share.

A set is an enum only when it is closed: a new value would break consumers who validate, so it needs a new version of
the event. What is expected to grow (round kinds, reasons, channels, roles) is a `Code`: consumers accept any.
"""

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, Strict


class Practice(StrEnum):
    """The twelve practices of co-leadership; every milestone, question and growth figure names one."""

    self_leadership = "self_leadership"
    whole_system = "whole_system"
    values_based = "values_based"
    role_modelling = "role_modelling"
    shared_understanding = "shared_understanding"
    mobilising = "mobilising"
    improving = "improving"
    forming_groups = "forming_groups"
    leading_meetings = "leading_meetings"
    conflict_prevention = "conflict_prevention"
    dialogue_decisions = "dialogue_decisions"
    continuous_adjustment = "continuous_adjustment"


class Group(StrEnum):
    """Respondent groups. Answers of self and manager are attributable by design, the others never."""

    self = "self"
    manager = "manager"
    peer = "peer"
    led = "led"
    customer = "customer"


MOST_PEERS = 12
"""Most peers that a round asks, or k where that is set higher: said before one opens, and kept when it does."""


class PersonStatus(StrEnum):
    """Where a person stands in the HR platform. An erased person is a tombstone, not a status."""

    active = "active"
    on_leave = "on_leave"
    inactive = "inactive"


class PrincipalKind(StrEnum):
    """Who may hold a role."""

    person = "person"
    machine = "machine"


class Role(StrEnum):
    """Roles that are granted. Manager and co-leader are derived from the reporting line and the enrolments."""

    programme_office = "programme_office"
    hr_integration = "hr_integration"
    stream_reader = "stream_reader"
    operator = "operator"


class CloseReason(StrEnum):
    """Why a round closed by itself. `complete` is written no more: it said that everybody invited had answered."""

    time = "time"
    complete = "complete"


class Bucket(StrEnum):
    """How many there are of something, such as answers of a round: coarse enough to tell nothing about one of them."""

    none = "0"
    few = "1-4"
    some = "5-9"
    many = "10+"

    @classmethod
    def of(cls, count: int) -> "Bucket":
        """The bucket that holds `count` of them."""
        if count <= 0:
            return cls.none
        return cls.few if count < 5 else cls.some if count < 10 else cls.many


YEARS = range(1970, 2201)  # at the calendar's ends a time zone leads out of it, and Postgres says infinity


def _utc(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a moment of the calendar") from None
    _must_be_in_calendar(moment)
    return moment


def _day(day: date) -> date:
    _must_be_in_calendar(day)
    return day


def _must_be_in_calendar(day: date) -> None:
    if not YEARS.start <= day.year < YEARS.stop:
        raise ValueError(f"must lie in the years {YEARS.start} to {YEARS.stop - 1}")


# Line breaks, control characters, what turns the direction of what follows, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_one_line(text: str) -> bool:
    """Whether a text is one line that reads as it is written."""
    return _UNPRINTABLE.search(text) is None


def _one_line(text: str) -> str:
    if not is_one_line(text):
        raise ValueError("must be one line without control characters")
    return text


def _id(what: str, example: int, *, version: int = 7) -> object:
    return Field(description=what, examples=[f"0198c0de-0000-{version}000-8000-{example:012x}"])


UtcTime = Annotated[AwareDatetime, AfterValidator(_utc), Field(examples=["2026-03-02T08:00:00Z"])]
Day = Annotated[date, AfterValidator(_day), Field(examples=["2026-03-02"])]

CODE = r"^[a-z0-9][a-z0-9_.-]*$"
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=CODE, examples=["milestone"])]


def one_of(code_set: str) -> dict[str, JsonValue]:
    """For a field's `json_schema_extra`: which codes are sent today, by the set's name in `codes.toml`."""
    return {"x-medled-codes": code_set}


PersonId = Annotated[UUID, _id("The person; an opaque id, random for everybody who joined since 0.1.1.", 1, version=4)]
ManagerId = Annotated[UUID, _id("The person's manager when it happened; an opaque id.", 2, version=4)]
UnitId = Annotated[UUID, _id("The organisation unit when it happened.", 3)]
ProgrammeId = Annotated[UUID, _id("The programme.", 4)]
CohortId = Annotated[UUID, _id("The cohort: one run of a programme version.", 5)]
EnrolmentId = Annotated[UUID, _id("The enrolment: one person in one cohort.", 6)]
RoundId = Annotated[UUID, _id("The feedback round.", 7)]
InvitationId = Annotated[UUID, _id("The invitation; says nothing of the link or its token.", 8, version=4)]
NotificationId = Annotated[UUID, _id("The notification: one message to one recipient on one channel.", 9)]

MilestoneKey = Annotated[
    Code, Field(description="The milestone's key within its programme version.", examples=["first_meeting"])
]
ProgrammeVersion = Annotated[
    int, Field(ge=1, le=1_000_000, description="Version of the programme, from 1.", examples=[1])
]
CatalogueTitle = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Locale = Annotated[
    str,
    Field(
        max_length=35,
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
        description="The language to write to the person in, a BCP 47 tag.",
        examples=["sv"],
    ),
]
TimeZone = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[A-Za-z0-9_+/-]+$",
        description="The person's time zone, a name of the IANA database.",
        examples=["Europe/Stockholm"],
    ),
]

# Producers may give an enum's plain value (as read from a database row); anything outside the set is still refused.
AnyPractice = Annotated[Practice, Strict(False)]
AnyGroup = Annotated[Group, Strict(False)]
AnyBucket = Annotated[Bucket, Strict(False)]
AnyStatus = Annotated[PersonStatus, Strict(False)]
AnyPrincipalKind = Annotated[PrincipalKind, Strict(False)]

# Lists are given as any sequence and kept as tuples, so that an event stays frozen.
Practices = Annotated[
    tuple[AnyPractice, ...], Strict(False), Field(max_length=12, description="The practices it trains.")
]
Groups = Annotated[tuple[AnyGroup, ...], Strict(False), Field(max_length=5, description="The respondent groups.")]


CONFLICT = "conflict"  # what a handler refuses with


REASONS = ("undecodable", "foreign", "wrong_topic", "sequence_jump", CONFLICT, "handler_failed", "parent_never_came")
"""Why a record is a dead letter, as its announcement has it: stable codes; `shared/events/codes.toml` explains them."""


FORGED = ("foreign", "wrong_topic", "sequence_jump", CONFLICT)
"""Reasons that no service of Medled gives: somebody else writes to its topics."""
