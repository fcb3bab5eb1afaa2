"""Every SQL statement about people and units but for those of an import."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.enrolment.people.domain import Person, Unit
from shared.events import PersonStatus
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection

PERSON_COLUMNS = (
    "id", "employee_id", "login", "given_name", "family_name", "email", "title", "grade", "unit_id", "manager_id",
    "status", "locale", "time_zone",
)  # fmt: skip
_PERSON = ", ".join(PERSON_COLUMNS)
_STATUS = PERSON_COLUMNS.index("status")


async def units(conn: Connection) -> list[Unit]:
    rows = await conn.fetch("select id, name, parent_id, merged_into from units")
    return [Unit(*row) for row in rows]


async def add_units(conn: Connection, new: Sequence[Unit]) -> None:
    await conn.execute(
        "insert into units (id, name, parent_id) select * from unnest($1::uuid[], $2::text[], $3::uuid[])",
        [unit.id for unit in new],
        [unit.name for unit in new],
        [unit.parent_id for unit in new],
    )


async def find_person(conn: Connection, person_id: UUID) -> Person | None:
    row = await conn.fetchrow(f"select {_PERSON} from people where id = $1", person_id)  # noqa: S608
    return person_of(tuple(row)) if row is not None else None


async def list_people(conn: Connection, after: UUID | None, limit: int) -> Page[Person]:
    return await fetch_page(
        conn,
        f"select {_PERSON} from people where $1::uuid is null or id > $1 order by id limit $2",  # noqa: S608
        after,
        limit=limit,
        item=lambda row: person_of(tuple(row)),
    )


async def person_named(conn: Connection, employee_id_or_login: str) -> list[Person]:
    """Who goes by this login or employee id; more than one when sources share employee ids."""
    rows = await conn.fetch(
        f"select {_PERSON} from people where login = $1 or employee_id = $1 order by id",  # noqa: S608
        employee_id_or_login,
    )
    return [person_of(tuple(row)) for row in rows]


def person_of(values: tuple[Any, ...]) -> Person:
    """The person in the values of PERSON_COLUMNS."""
    return Person(*(*values[:_STATUS], PersonStatus(values[_STATUS]), *values[_STATUS + 1 :]))
