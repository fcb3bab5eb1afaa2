"""Every SQL statement about people and units but for those of an import."""

from collections.abc import Collection, Sequence
from datetime import datetime
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


async def list_people(conn: Connection, units: Collection[UUID] | None, after: UUID | None, limit: int) -> Page[Person]:
    """The people of `units`; None: of all."""
    return await fetch_page(
        conn,
        f"""
        select {_PERSON} from people
        where ($1::uuid is null or id > $1) and ($2::uuid[] is null or unit_id = any($2)) order by id limit $3
        """,  # noqa: S608
        after,
        None if units is None else list(units),
        limit=limit,
        item=lambda row: person_of(tuple(row)),
    )


async def search(
    conn: Connection,
    words: Sequence[str],
    units: Collection[UUID] | None,
    after: tuple[str, str, UUID] | None,
    limit: int,
) -> Page[Person]:
    """The people of `units` (None: of all) in whose name or employee id every word stands, by name."""
    patterns = [f"%{_literally(word.lower())}%" for word in words]
    return await fetch_page(
        conn,
        f"""
        select {_PERSON}, lower(family_name) as by_family, lower(given_name) as by_given from people
        where lower(given_name || ' ' || family_name || ' ' || employee_id) like all ($1::text[])
          and ($2::uuid[] is null or unit_id = any($2))
          and ($3::text is null or (lower(family_name), lower(given_name), id) > ($3, $4::text, $5::uuid))
        order by by_family, by_given, id limit $6
        """,  # noqa: S608
        patterns,
        None if units is None else list(units),
        *(after or (None, None, None)),
        limit=limit,
        item=lambda row: person_of(tuple(row)[: len(PERSON_COLUMNS)]),
        by=("by_family", "by_given", "id"),
    )


def _literally(text: str) -> str:
    """As `like` has to be told to mean just this."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def source_of(conn: Connection, person_id: UUID) -> tuple[str, datetime] | None:
    """Which HR platform the person is from, and when it last changed anything of them."""
    row = await conn.fetchrow("select source, changed_at from people where id = $1", person_id)
    return None if row is None else (row["source"], row["changed_at"])


async def former_logins(conn: Connection, person_id: UUID) -> list[tuple[str, datetime]]:
    """The logins that HR gave the person before, each with when that ended, the latest first."""
    rows = await conn.fetch(
        "select login, until from former_logins where person_id = $1 order by until desc", person_id
    )
    return [tuple(row) for row in rows]


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
