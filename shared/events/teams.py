"""Teams of which an import changes much at once: `medled.team-changes.v1`, for Medled's own services only."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, Strict

from shared.events.event import Event
from shared.events.vocabulary import AnyBucket, PersonId, UnitId


class TeamsChanged(
    Event,
    type="medled.teams.changed.v1",
    topic="medled.team-changes.v1",
    source="/medled/enrolment",
    subject="notice_id",
    key="person_id",
    restricted=True,
):
    """An import changed much of some teams at once, and one person is to hear of it.

    A team is the people who report to one manager. Which manager is in no event: who may, reads it in the report.
    """

    notice_id: UUID = Field(description="This notice.", examples=["0198c0de-0000-7000-8000-00000000000c"])
    person_id: PersonId = Field(description="Who is to hear of it; an opaque id.")
    import_id: UUID = Field(description="The import.", examples=["0198c0de-0000-7000-8000-00000000000d"])
    teams: AnyBucket = Field(
        description="How many such teams there are in the units for which this person is to hear of it."
    )
    unit_ids: Annotated[tuple[UnitId, ...], Strict(False)] = Field(
        max_length=20, description="The units of these teams, those with most of them first; at most 20."
    )
    may_read: bool = Field(description="Whether this person may read the import's report.", examples=[True])
