"""Who may look whom up. Whoever is shown to somebody else is put on record, and nobody else is."""

from datetime import datetime
from uuid import UUID

from services.enrolment.people import store
from services.enrolment.people.domain import Person, path_of
from shared.errors import NotAllowedError, NotFoundError
from shared.events import Role
from shared.http.pagination import Page
from shared.postgres.pool import Connection
from shared.security.audit import audit, audit_all
from shared.security.authorization import is_manager_of, require, units_of
from shared.security.principal import Principal

MAY_LOOK_UP = (Role.hr_integration, Role.programme_office)


async def listed(conn: Connection, who: Principal, *, after: UUID | None, limit: int, now: datetime) -> Page[Person]:
    """Everybody in the units of `who`. Raises NotAllowedError."""
    page = await store.list_people(conn, await scope(conn, who), after, limit)
    return await _recorded(conn, who, page, now)


async def search(
    conn: Connection, who: Principal, text: str, unit: str, *, after: tuple[str, str, UUID] | None, limit: int,
    now: datetime,
) -> Page[Person]:  # fmt: skip
    """Of those, whose name or employee id has every word of `text`, and whose unit's path has `unit` in it."""
    units = await scope(conn, who)
    if wanted := unit.casefold().strip():
        every = await store.units(conn)
        by_id = {each.id: each for each in every}
        named = frozenset(each.id for each in every if wanted in " ".join(path_of(each, by_id)).casefold())
        units = named if units is None else named & units
    page = await store.search(conn, text.split(), units, after, limit)
    return await _recorded(conn, who, page, now)


async def scope(conn: Connection, who: Principal) -> frozenset[UUID] | None:
    """The units whose people `who` may look up; None: all. Raises NotAllowedError when there are none."""
    units = await units_of(conn, who, *MAY_LOOK_UP)
    if units is not None and not units:
        raise NotAllowedError(
            "Only HR and the programme office look people up.", remedy="Ask for the role programme_office."
        )
    return units


async def one(conn: Connection, who: Principal, person_id: UUID, *, now: datetime) -> Person:
    """One person: for themselves, their manager, and who holds a role where they work. Raises NotFoundError, 403."""
    person = await store.find_person(conn, person_id)
    if who.person_id != person_id:
        if not await is_manager_of(conn, who, person_id):
            await require(conn, who, *MAY_LOOK_UP, unit=person.unit_id if person is not None else None)
        await audit(conn, who, "person.read", person_id, now)
    if person is None:
        raise NotFoundError("There is no person with this id.", remedy="Choose one from the list.")
    return person


async def _recorded(conn: Connection, who: Principal, page: Page[Person], now: datetime) -> Page[Person]:
    others = [person.id for person in page.items if person.id != who.person_id]
    await audit_all(conn, who, "person.read", others, now)
    return page
