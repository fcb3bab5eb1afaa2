"""The people who change: brought to what they will be, then read again to be announced. Stands on `difference`."""

from collections.abc import AsyncIterator
from typing import Any

from services.enrolment.people.domain import PersonTransition, PreviousPlacement
from services.enrolment.people.store import PERSON_COLUMNS, person_of
from shared.events import PersonStatus
from shared.postgres.pool import Connection


async def write(conn: Connection) -> None:
    """Bring the people who change to what they will be."""
    # A joiner may take over a login, and be the manager of somebody known: only at the end everything is in place.
    await conn.execute("set constraints people_login_key deferred")
    await _insert_joined(conn)
    await _remember_former_logins(conn)
    await _update_known(conn)
    await conn.execute("set constraints people_login_key immediate")


async def _insert_joined(conn: Connection) -> None:
    await conn.execute(
        """
        insert into people (id, source, employee_id, login, given_name, family_name, email, title, grade, unit_id,
                            manager_id, status, locale, time_zone, changed_at)
        select id, source, employee_id, login, given_name, family_name, email, title, grade, unit_id,
               manager_id, status, locale, time_zone, changed_at
        from people_after where joined
        """
    )


async def _remember_former_logins(conn: Connection) -> None:
    """Who had which login: an account that comes with one later must not open what somebody else has done under it."""
    await conn.execute(
        """
        insert into former_logins (login, person_id, until)
        select p.login, p.id, a.changed_at
        from people_after a join people p on p.id = a.id
        where not a.joined and lower(p.login) is distinct from lower(a.login) and p.login is not null
        on conflict (login, person_id) do update set until = excluded.until
        """
    )


async def _update_known(conn: Connection) -> None:
    await conn.execute(
        """
        update people p
        set login = a.login, given_name = a.given_name, family_name = a.family_name, email = a.email, title = a.title,
            grade = a.grade, unit_id = a.unit_id, manager_id = a.manager_id, status = a.status, locale = a.locale,
            time_zone = a.time_zone, changed_at = a.changed_at
        from people_after a
        where a.id = p.id and not a.joined
        """
    )


async def remember_said(conn: Connection, source: str) -> None:
    """Keep the prints of rows that people are as they say, whether or not the file changed them.

    Not of whoever has an address that another has too, which is told each time; nor of one whose capitals only Python
    compares.
    """
    await conn.execute(
        """
        insert into people_said as s (person_id, said, said_at)
        select p.id, f.said, p.changed_at
        from file_rows f join people p on p.source = $1 and p.employee_id = f.employee_id
        where f.use = 'here' and f.said is not null and coalesce(f.email !~ '[^ -~]', true) and not exists (
            select from people o
            where o.source = $1 and o.status <> 'inactive' and lower(o.email collate "C") = f.email_key
              and o.employee_id <> f.employee_id)
        on conflict (person_id) do update set said = excluded.said, said_at = excluded.said_at
        """,
        source,
    )


async def changes(conn: Connection, chunk: int) -> AsyncIterator[list[PersonTransition]]:
    """Everybody who changed, in chunks, while the transaction lasts.

    In the order of their ids, which are random: the order of the file would put names to everybody in public events.
    """
    columns = ", ".join(PERSON_COLUMNS)
    await conn.execute(
        f"""
        declare people_changed no scroll cursor for
        select {columns}, joined, before_unit_id, before_manager_id, before_status from people_after order by id
        """  # noqa: S608
    )
    width = len(PERSON_COLUMNS)
    while rows := await conn.fetch(f"fetch forward {chunk:d} from people_changed"):
        yield [_change(tuple(row), width) for row in rows]
    await conn.execute("close people_changed")  # while it is open, nobody can drop the table


def _change(row: tuple[Any, ...], width: int) -> PersonTransition:
    joined, unit_id, manager_id, status = row[width:]
    return PersonTransition(
        person_of(row[:width]), None if joined else PreviousPlacement(unit_id, manager_id, PersonStatus(status))
    )
