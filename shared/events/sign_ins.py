"""Who signs in as whom, when it changes: `medled.sign-ins.v1`, for Medled's own services only."""

from uuid import UUID

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import Code, PersonId


class SignInChanged(
    Event,
    type="medled.sign_in.changed.v1",
    topic="medled.sign-ins.v1",
    source="/medled/enrolment",
    subject="notice_id",
    key="person_id",
    restricted=True,
):
    """An account of a person was replaced or ended, and one address of theirs is to hear of it.

    One event for each address: HR may have changed it just before.
    """

    notice_id: UUID = Field(description="This notice.", examples=["0198c0de-0000-7000-8000-00000000000b"])
    person_id: PersonId
    change: Code = Field(description="What happened: `replaced` or `ended`.", examples=["replaced"])
    address: str | None = Field(
        default=None,
        max_length=320,
        description="An address known when an account was bound; null: the one known today.",
        examples=["anna@example.org"],
    )
