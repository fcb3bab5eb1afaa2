"""People over HTTP. Whoever looks at somebody else is put on record."""

from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from services.enrolment.endpoints.requests import After
from services.enrolment.people import queries
from services.enrolment.people.domain import Person
from shared.events import PersonStatus
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction

router = APIRouter(prefix="/enrolment/v1/people", tags=["people"])


class PersonOut(BaseModel):
    """A person as the HR platform has them."""

    LINKS: ClassVar[Links] = {"get_person": {"person_id": "id"}}

    id: UUID
    employee_id: str
    login: str | None
    given_name: str
    family_name: str
    email: str | None
    title: str | None
    unit_id: UUID
    manager_id: UUID | None
    status: PersonStatus
    locale: str
    time_zone: str

    @classmethod
    def of(cls, person: Person) -> "PersonOut":
        return cls.model_validate({name: getattr(person, name) for name in cls.model_fields})


@router.get("")
async def list_people(request: Request, who: Who, after: After, limit: Limit = 50) -> Page[PersonOut]:
    """Everybody, in no order that means anything, for `hr_integration` and `programme_office`: held for some units, the
    people of those.
    """
    async with transaction(pool(request)) as conn:
        page = await queries.listed(conn, who, after=after, limit=limit, now=now(request))
    return page.of(PersonOut.of)


@router.get("/{person_id}")
async def get_person(
    request: Request, who: Who, person_id: Annotated[UUID, Path(description="The person.")]
) -> PersonOut:
    """One person: for themselves, their manager, and who holds a role where they work."""
    async with transaction(pool(request)) as conn:
        return PersonOut.of(await queries.one(conn, who, person_id, now=now(request)))
