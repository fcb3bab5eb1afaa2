"""Feedback rounds: `medled.feedback.v1`. Public: ids and status only, never a figure or an answer."""

from typing import Annotated

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import (
    AnyBucket,
    Code,
    CohortId,
    EnrolmentId,
    Groups,
    MilestoneKey,
    PersonId,
    Practices,
    ProgrammeId,
    RoundId,
    UnitId,
    UtcTime,
    one_of,
)

PURPOSE = (
    "Purpose: the development of co-leadership only. Feedback is never used for appraisal, pay, selection or any "
    "decision about a person."
)

SubjectId = Annotated[PersonId, Field(description="The person the feedback is for; an opaque id.")]


class RoundFact(Event, topic="medled.feedback.v1", source="/medled/feedback", subject="round_id"):
    """About one feedback round."""

    round_id: RoundId
    subject_person_id: SubjectId
    enrolment_id: EnrolmentId
    milestone: MilestoneKey
    cohort_id: CohortId
    programme_id: ProgrammeId
    unit_id: UnitId


class RoundOpened(RoundFact, type="medled.round.opened.v1"):
    """A feedback round opened; invitations follow."""

    kind: Code = Field(
        description="Kind of round; consumers accept kinds they do not know.", examples=["milestone"],
        json_schema_extra=one_of("round_kind"),
    )  # fmt: skip
    practices: Practices = Field(description="The practices it asks about.")
    groups: Groups = Field(description="The respondent groups it asks.")
    k: int = Field(
        ge=2, le=100, description="Fewest answers of a group that may be shown, locked for the round.", examples=[5]
    )
    opened_at: UtcTime = Field(description="When it opened.")
    closes_at: UtcTime = Field(description="When it closes at the latest.")


class RoundClosed(RoundFact, type="medled.round.closed.v1"):
    """A round takes no more answers: its time was up, or there was nobody left who could answer."""

    reason: Code = Field(
        description="`time`; `milestone_undone`, `enrolment_withdrawn` or `subject_left` when it was taken back. "
        "`complete` is what 0.1.0 said of some rounds that ended before their time; it is said no more. Consumers "
        "accept others.",
        examples=["time"],
        json_schema_extra=one_of("close_reason"),
    )


class RoundWithheld(RoundFact, type="medled.round.withheld.v1"):
    """A round closed, or was never opened, with nothing that may be shown."""

    reason: Code = Field(
        description="A stable code: `too_few_answers`; `asked_recently`, `nobody_to_ask`, `not_known_yet` or "
        "`team_changed` when it was never opened; others when it was taken back. Consumers accept those they do not "
        "know.",
        examples=["too_few_answers"],
        json_schema_extra=one_of("withheld_reason"),
    )


class ResponsesCounted(RoundFact, type="medled.responses.counted.v1"):
    """How many have answered, in buckets and on a fixed clock, so that it tells nothing about one answer."""

    bucket: AnyBucket = Field(description="The number of answers, coarsely.")


class ResultsReleased(RoundFact, type="medled.results.released.v1"):
    """The person can read their results. Of which groups is theirs to know: of one person it would say who answered."""
