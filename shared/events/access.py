"""Who may do what where: `medled.access.v1`, compacted, for Medled's own services only."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, Strict

from shared.events.event import Event, Part
from shared.events.vocabulary import AnyPrincipalKind, Code, PersonId, UtcTime, one_of

RoleUnits = Annotated[tuple[UUID, ...], Strict(False), Field(max_length=1000)]


class SignIn(Part):
    """An account at an identity provider that signs a person in."""

    issuer: str = Field(
        min_length=1, max_length=2000, description="The provider (`iss`).", examples=["https://login.example.org"]
    )
    subject: str = Field(min_length=1, max_length=1000, description="The account there (`sub`).", examples=["f3c1a8d2"])


SignIns = Annotated[tuple[SignIn, ...], Strict(False), Field(max_length=100)]


class AccessState(
    Event,
    type="medled.access.state.v1",
    topic="medled.access.v1",
    source="/medled/enrolment",
    subject="principal",
    compacted=True,
    restricted=True,
):
    """The roles one principal holds today, and who signs in as a person. A tombstone, or no roles, means no role."""

    principal: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$",
        description="Who holds the roles: a person's id or a machine's.",
        examples=["machine:0198c0de"],
    )
    kind: AnyPrincipalKind = Field(description="A person or a machine.")
    person_id: PersonId | None = None
    name: str = Field(min_length=1, max_length=200, description="What operators call it.", examples=["HR platform"])
    token_hash: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64,128}$",
        description="Hash of a machine's token in hexadecimal; the token itself is nowhere.",
        examples=["00" * 32],
    )
    roles: dict[Code, RoleUnits | None] = Field(
        max_length=32,
        description="Each role with the units it holds for (and all below them); null: everywhere. "
        "A role that a consumer does not know grants nothing.",
        examples=[{"operator": None}],
        json_schema_extra=one_of("role"),
    )
    expires_at: UtcTime | None = Field(default=None, description="When all of it ends; null: when revoked.")
    sign_ins: SignIns = Field(default=(), description="The accounts that sign this person in; none of a machine's.")
    sessions_from: UtcTime | None = Field(
        default=None,
        description="Sessions of this person that began before have ended, since a sign-in of theirs has; null: none.",
    )
