"""People over HTTP. Whoever looks at somebody else is put on record."""

from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from services.enrolment.endpoints.requests import After
from services.enrolment.people import store
from services.enrolment.people.domain import Person
from shared.errors import NotFoundError
from shared.events import PersonStatus, Role
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.audit import audit, audit_all
from shared.security.authorization import is_manager_of, require

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
    """Everybody, in no order that means anything. Takes `hr_integration` or `programme_office` everywhere."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, Role.hr_integration, Role.programme_office)
        page = await store.list_people(conn, after, limit)
        others = [person.id for person in page.items if person.id != who.person_id]
        await audit_all(conn, who, "person.read", others, now(request))
    return page.of(PersonOut.of)


@router.get("/{person_id}")
async def get_person(
    request: Request, who: Who, person_id: Annotated[UUID, Path(description="The person.")]
) -> PersonOut:
    """One person: for themselves, their manager, and who holds a role where they work."""
    async with transaction(pool(request)) as conn:
        person = await store.find_person(conn, person_id)
        if who.person_id != person_id:
            if not await is_manager_of(conn, who, person_id):
                unit_id = person.unit_id if person is not None else None
                await require(conn, who, Role.hr_integration, Role.programme_office, unit=unit_id)
            await audit(conn, who, "person.read", person_id, now(request))
    if person is None:
        raise NotFoundError("There is no person with this id.", remedy="Choose one from the list.")
    return PersonOut.of(person)
