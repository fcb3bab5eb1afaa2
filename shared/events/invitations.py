"""Invitations to answer: `medled.invitations.v1`, for Medled's own services only. Ids only, never a link or a token."""

from typing import Annotated

from pydantic import Field

from shared.events.event import Event
from shared.events.feedback import SubjectId
from shared.events.vocabulary import AnyGroup, InvitationId, PersonId, ProgrammeId, RoundId, UnitId, UtcTime


class InvitationFact(
    Event,
    topic="medled.invitations.v1",
    source="/medled/feedback",
    subject="invitation_id",
    key="round_id",
    restricted=True,
):
    """About one respondent's right to answer one round; kept in order per round."""

    invitation_id: InvitationId
    round_id: RoundId


class InvitationIssued(InvitationFact, type="medled.invitation.issued.v1"):
    """A respondent may answer a round, once."""

    respondent_id: Annotated[PersonId, Field(description="The person invited.")]
    subject_person_id: SubjectId
    group: AnyGroup = Field(description="The respondent group they answer in.")
    closes_at: UtcTime = Field(description="When the round closes at the latest.")
    unit_id: UnitId
    programme_id: ProgrammeId


class InvitationRevoked(InvitationFact, type="medled.invitation.revoked.v1"):
    """The right to answer ended early. Used ones are taken back like unused ones: it never tells who answered."""
