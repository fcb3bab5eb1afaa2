"""Programmes, cohorts, enrolments and milestones: `medled.enrolment.v1`. Public: ids and catalogue titles only."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, Strict

from shared.events.event import Event, Part
from shared.events.vocabulary import (
    CatalogueTitle,
    Code,
    CohortId,
    Day,
    EnrolmentId,
    Groups,
    ManagerId,
    MilestoneKey,
    PersonId,
    Practices,
    ProgrammeId,
    ProgrammeVersion,
    UnitId,
    UtcTime,
    one_of,
)

TOPIC = "medled.enrolment.v1"
SOURCE = "/medled/enrolment"


class Title(Part):
    """A catalogue title in both languages."""

    sv: CatalogueTitle = Field(description="In Swedish.", examples=["Leda möten"])
    en: CatalogueTitle = Field(description="In English.", examples=["Leading meetings"])


class FeedbackPlan(Part):
    """The feedback round that a milestone opens when it is reached."""

    kind: Code = Field(
        description="Kind of round; consumers accept kinds they do not know.", examples=["milestone"],
        json_schema_extra=one_of("round_kind"),
    )  # fmt: skip
    groups: Groups
    days_open: int = Field(ge=1, le=365, description="How long the round is open, in days.", examples=[14])


class Milestone(Part):
    """A step of a programme."""

    key: MilestoneKey
    title: Title = Field(description="Catalogue title.")
    practices: Practices
    feedback: FeedbackPlan | None = Field(default=None, description="The round it opens; null: none.")


class PersonFact(Event, topic=TOPIC, source=SOURCE, subject="person_id"):
    """About one person in the HR platform."""

    person_id: PersonId
    unit_id: UnitId


class PersonProvisioned(PersonFact, type="medled.person.provisioned.v1"):
    """A person became known."""

    manager_id: ManagerId | None = None


class PersonManagerChanged(PersonFact, type="medled.person.manager_changed.v1"):
    """A person reports to somebody else than before."""

    manager_id: ManagerId | None = None
    previous_manager_id: UUID | None = Field(default=None, description="The manager before; null: none was known.")


class PersonMoved(PersonFact, type="medled.person.moved.v1"):
    """A person belongs to another unit than before."""

    previous_unit_id: UUID = Field(description="The unit before.")


class PersonDeactivated(PersonFact, type="medled.person.deactivated.v1"):
    """A person left, or the HR platform no longer has them."""


class PersonReactivated(PersonFact, type="medled.person.reactivated.v1"):
    """A person who was inactive is back."""


class ProgrammePublished(
    Event, type="medled.programme.published.v1", topic=TOPIC, source=SOURCE, subject="programme_id"
):
    """A version of a programme was published; cohorts can be opened on it."""

    programme_id: ProgrammeId
    version: ProgrammeVersion
    title: Title = Field(description="Catalogue title.")
    milestones: Annotated[tuple[Milestone, ...], Strict(False)] = Field(
        max_length=100, description="The milestones in order."
    )


class ProgrammeRetired(Event, type="medled.programme.retired.v1", topic=TOPIC, source=SOURCE, subject="programme_id"):
    """No new cohorts on this version; those that exist go on."""

    programme_id: ProgrammeId
    version: ProgrammeVersion


class CohortFact(Event, topic=TOPIC, source=SOURCE, subject="cohort_id"):
    """About one cohort; carries all of it."""

    cohort_id: CohortId
    programme_id: ProgrammeId
    programme_version: ProgrammeVersion
    name: CatalogueTitle = Field(description="The cohort's name, a catalogue title.", examples=["Spring 2026"])
    capacity: int = Field(ge=1, le=100_000, description="How many can be active at a time.", examples=[40])
    unit_id: UnitId | None = Field(default=None, description="The unit it is for; null: the whole organisation.")
    starts_on: Day = Field(description="First day.")
    ends_on: Day = Field(description="Last day.")


class CohortOpened(CohortFact, type="medled.cohort.opened.v1"):
    """People can ask for a place in the cohort."""


class CohortCapacityChanged(CohortFact, type="medled.cohort.capacity_changed.v1"):
    """The cohort has more or fewer places than before."""


class CohortStarted(CohortFact, type="medled.cohort.started.v1"):
    """The cohort began to run."""


class CohortClosed(CohortFact, type="medled.cohort.closed.v1"):
    """The cohort ended."""


class EnrolmentFact(Event, topic=TOPIC, source=SOURCE, subject="enrolment_id"):
    """About one enrolment; unit and manager are the person's when it happened."""

    enrolment_id: EnrolmentId
    person_id: PersonId
    cohort_id: CohortId
    programme_id: ProgrammeId
    unit_id: UnitId
    manager_id: ManagerId | None = None


class EnrolmentRequested(EnrolmentFact, type="medled.enrolment.requested.v1"):
    """A person asked for a place; the manager's answer is awaited."""

    approve_before: UtcTime = Field(description="When the request expires unanswered.")


class EnrolmentApproverChanged(EnrolmentFact, type="medled.enrolment.approver_changed.v1"):
    """The request waits for somebody else's answer than before: `manager_id`, or the programme office when null."""

    approve_before: UtcTime = Field(description="When the request expires unanswered; as before.")


class EnrolmentApproved(EnrolmentFact, type="medled.enrolment.approved.v1"):
    """The manager approved. Activated or waitlisted follows."""


class EnrolmentDeclined(EnrolmentFact, type="medled.enrolment.declined.v1"):
    """The manager declined."""


class EnrolmentWaitlisted(EnrolmentFact, type="medled.enrolment.waitlisted.v1"):
    """Approved, but the cohort is full."""

    position: int = Field(ge=1, description="Place in the waiting list when it happened, from 1.", examples=[3])


class EnrolmentActivated(EnrolmentFact, type="medled.enrolment.activated.v1"):
    """The person has a place and is a co-leader."""

    promoted: bool = Field(description="True: came from the waiting list.", examples=[False])


class EnrolmentCompleted(EnrolmentFact, type="medled.enrolment.completed.v1"):
    """Every milestone is reached, attested or waived."""


class EnrolmentWithdrawn(EnrolmentFact, type="medled.enrolment.withdrawn.v1"):
    """The enrolment ended early; its place goes to the next one waiting."""


class EnrolmentExpired(EnrolmentFact, type="medled.enrolment.expired.v1"):
    """Nobody answered the request in time, or the cohort closed before there was a place."""


class MilestoneFact(Event, topic=TOPIC, source=SOURCE, subject="enrolment_id"):
    """About one milestone of one enrolment."""

    enrolment_id: EnrolmentId
    person_id: PersonId
    cohort_id: CohortId
    programme_id: ProgrammeId
    unit_id: UnitId
    milestone: MilestoneKey
    practices: Practices


class MilestoneReached(MilestoneFact, type="medled.milestone.reached.v1"):
    """The co-leader reached the milestone."""

    feedback: FeedbackPlan | None = Field(default=None, description="The feedback round to open; null: none.")


class MilestoneAttested(MilestoneFact, type="medled.milestone.attested.v1"):
    """The manager attested that the milestone was reached."""


class MilestoneWaived(MilestoneFact, type="medled.milestone.waived.v1"):
    """The programme office let the milestone be skipped."""


class MilestoneUndone(MilestoneFact, type="medled.milestone.undone.v1"):
    """The milestone is pending again."""
