"""People as the HR platform has them: `medled.people.v1`, compacted, for Medled's own services only."""

from typing import Annotated

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import AnyStatus, Locale, ManagerId, PersonId, TimeZone, UnitId

Login = Annotated[
    str, Field(min_length=1, max_length=320, description="What identifies the person at login.", examples=["anna.berg"])
]


class PersonState(
    Event,
    type="medled.person.state.v1",
    topic="medled.people.v1",
    source="/medled/enrolment",
    subject="person_id",
    compacted=True,
    restricted=True,
):
    """The full state of one person in force today. A record without value (a tombstone) means erased."""

    person_id: PersonId
    login: Login | None = None
    employee_id: str = Field(
        min_length=1, max_length=128, description="The person's id in the HR platform.", examples=["10042"]
    )
    given_name: str = Field(max_length=200, description="Given name.", examples=["Anna"])
    family_name: str = Field(max_length=200, description="Family name.", examples=["Berg"])
    email: str | None = Field(
        default=None,
        max_length=320,
        description="Address for mail; null when there is none.",
        examples=["anna@example.org"],
    )
    title: str | None = Field(
        default=None, max_length=200, description="Job title in the HR platform.", examples=["Planner"]
    )
    unit_id: UnitId
    manager_id: ManagerId | None = None
    status: AnyStatus = Field(description="Active, on leave or inactive.")
    locale: Locale
    time_zone: TimeZone
