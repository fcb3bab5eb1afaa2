"""The organisation's units, a tree: `medled.units.v1`, compacted."""

from uuid import UUID

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import CatalogueTitle, UnitId


class UnitState(
    Event,
    type="medled.unit.state.v1",
    topic="medled.units.v1",
    source="/medled/enrolment",
    subject="unit_id",
    compacted=True,
):
    """The state of one organisation unit in force today. A tombstone means that the unit is gone."""

    unit_id: UnitId
    name: CatalogueTitle = Field(description="The unit's name, a catalogue title.", examples=["Care North"])
    parent_id: UUID | None = Field(default=None, description="The unit above it; null at the top.")
    merged_into: UUID | None = Field(default=None, description="The unit it was merged into, if it was.")
