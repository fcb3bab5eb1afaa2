"""What the file says, set against what is known. All in temporary tables of one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.enrolment.imports.domain import Overlap
from services.enrolment.people.domain import Person
from services.enrolment.people.store import PERSON_COLUMNS, person_of
from shared.postgres.pool import Connection

_ONE_AT_A_TIME = 0x6D65_646C_0001  # advisory lock: two imports would each compare with what the other replaces


class Wanted(NamedTuple):
    """What the file says of one person, resolved to ids. None: as it was. An empty text: none."""

    person_id: UUID
    employee_id: str
    asked_login: str  # the file's, or the employee id
    login: str | None  # final: None is none
    given_name: str
    family_name: str
    email: str | None
    title: str | None
    grade: str | None
    unit_id: UUID
    manager_told: bool
    manager_id: UUID | None
    status: str | None
    locale: str | None
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How many people an import changes, by what changes."""

    joined: int
    deactivated: int
    reactivated: int
    manager_changed: int
    moved: int
    changed: int  # everybody known before whose row differs in anything else


async def is_alone(conn: Connection) -> bool:
    """Whether this transaction is now the only one that compares and writes, until it ends. Does not wait: whoever
    waits shall be able to give up.
    """
    alone: bool = await conn.fetchval("select pg_try_advisory_xact_lock($1)", _ONE_AT_A_TIME)
    return alone


async def logins_of_those_who_left(conn: Connection, source: str) -> set[str]:
    """The employee ids of this source's people who have left and still have a login."""
    rows = await conn.fetch(
        "select employee_id from people where source = $1 and status = 'inactive' and login is not null", source
    )
    return {row["employee_id"] for row in rows}


async def has_people_elsewhere(conn: Connection, source: str) -> bool:
    """Whether another source has anybody who has not left."""
    found: bool = await conn.fetchval(
        "select exists (select from people where source <> $1 and status <> 'inactive')", source
    )
    return found


async def logins_elsewhere(conn: Connection, source: str, logins: Sequence[str]) -> set[str]:
    """Logins of people of other sources who have not left: those that one of `logins`, all folded, may be.

    Only ASCII is compared here, where small letters are the same to everybody; any other login is given as it is.
    """
    rows = await conn.fetch(
        """
        select login from people
        where source <> $1 and status <> 'inactive' and (lower(login collate "C") = any($2) or login ~ '[^ -~]')
        """,
        source,
        logins,
    )
    return {row["login"] for row in rows}


async def stage(conn: Connection, wanted: Iterable[Wanted]) -> None:
    """Copy what the file says into a table of this transaction.

    People of whom it says nothing new may be left out: nothing that is asked of these tables is about them.
    """
    # One table holds what the file says, the other the people it changes as they will be.
    await conn.execute(
        """
        drop table if exists people_wanted, people_after;
        create temporary table people_wanted (
            person_id uuid, employee_id text, asked_login text, login text, given_name text, family_name text,
            email text, title text, grade text, unit_id uuid, manager_told boolean, manager_id uuid, status text,
            locale text, time_zone text
        ) on commit drop;
        create temporary table people_after (
            like people, joined boolean not null, before_unit_id uuid, before_manager_id uuid, before_status text
        ) on commit drop;
        """
    )
    await conn.copy_records_to_table("people_wanted", records=wanted, columns=Wanted._fields)
    await conn.execute("analyze people_wanted")


async def compare(conn: Connection, source: str, *, locale: str, time_zone: str, now: datetime) -> None:
    """Set out, among those staged, whoever is new or differs. `locale` and `time_zone` are for the new ones without."""
    await conn.execute(
        """
        insert into people_after
        select w.id, $1, w.employee_id, w.login, w.given_name, w.family_name, w.email, w.title, w.grade, w.unit_id,
               w.manager_id, w.status, w.locale, w.time_zone, $4, p.id is null, p.unit_id, p.manager_id, p.status
        from (
            select w.person_id as id, w.employee_id, w.login, w.given_name, w.family_name,
                   case when w.email is null then p.email else nullif(w.email, '') end as email,
                   case when w.title is null then p.title else nullif(w.title, '') end as title,
                   case when w.grade is null then p.grade else nullif(w.grade, '') end as grade,
                   w.unit_id,
                   case when w.manager_told then w.manager_id else p.manager_id end as manager_id,
                   coalesce(w.status, case p.status when 'on_leave' then 'on_leave' else 'active' end) as status,
                   coalesce(w.locale, p.locale, $2) as locale,
                   coalesce(w.time_zone, p.time_zone, $3) as time_zone
            from people_wanted w left join people p on p.id = w.person_id
        ) w left join people p on p.id = w.id
        where p.id is null
           or (w.login, w.given_name, w.family_name, w.email, w.title, w.grade, w.unit_id, w.manager_id, w.status,
               w.locale, w.time_zone)
              is distinct from
              (p.login, p.given_name, p.family_name, p.email, p.title, p.grade, p.unit_id, p.manager_id, p.status,
               p.locale, p.time_zone)
        """,
        source,
        locale,
        time_zone,
        now,
    )


async def set_out_leaving(conn: Connection, person_ids: Sequence[UUID], now: datetime) -> None:
    """Add those who leave to the people who change: inactive, all else as it was."""
    await conn.execute(
        """
        insert into people_after
        select id, source, employee_id, login, given_name, family_name, email, title, grade, unit_id, manager_id,
               'inactive', locale, time_zone, $2, false, unit_id, manager_id, status
        from people where id = any($1::uuid[])
        """,
        person_ids,
        now,
    )


async def set_out_logins_passed_on(conn: Connection, now: datetime) -> int:
    """Whoever has left, and whose login one of those staged has now, has none; how many change for that alone."""
    await conn.execute(
        """
        update people_after a set login = null
        from people_wanted w where a.status = 'inactive' and w.login = a.login and w.person_id <> a.id
        """
    )
    done = await conn.execute(
        """
        insert into people_after
        select p.id, p.source, p.employee_id, null, p.given_name, p.family_name, p.email, p.title, p.grade, p.unit_id,
               p.manager_id, p.status, p.locale, p.time_zone, $1, false, p.unit_id, p.manager_id, p.status
        from people p join people_wanted w on w.login = p.login and w.person_id <> p.id
        where p.status = 'inactive' and not exists (select from people_after a where a.id = p.id)
        """,
        now,
    )
    return int(done.rpartition(" ")[2])


async def count_difference(conn: Connection) -> Difference:
    row = await conn.fetchrow(
        """
        select count(*) filter (where joined) as joined,
               count(*) filter (where left_now) as deactivated,
               count(*) filter (where returned) as reactivated,
               count(*) filter (where has_other_manager) as manager_changed,
               count(*) filter (where has_moved) as moved,
               count(*) filter (where not (joined or left_now or returned or has_other_manager or has_moved)) as changed
        from (
            select joined,
                   not joined and status = 'inactive' and before_status <> 'inactive' as left_now,
                   not joined and status <> 'inactive' and before_status = 'inactive' as returned,
                   not joined and manager_id is distinct from before_manager_id as has_other_manager,
                   not joined and unit_id <> before_unit_id as has_moved
            from people_after
        ) change
        """
    )
    assert row is not None  # noqa: S101 - an aggregate without grouping has one row
    return Difference(*row)


async def largest_overlap(conn: Connection, source: str) -> Overlap | None:
    """The other source that has most of those who join, told by login, address or employee id; None: no source has any.

    People who have left it do not count: they may well have moved here.
    """
    row = await conn.fetchrow(
        """
        with joining as (
            select w.person_id, w.employee_id, w.asked_login, lower(nullif(w.email, '')) as email
            from people_wanted w join people_after a on a.id = w.person_id
            where a.joined
        ), elsewhere as (
            select source, employee_id, login, lower(email) as email
            from people where source <> $1 and status <> 'inactive'
        )
        select source, count(*), (select count(*) from joining)
        from (
            select j.person_id, e.source from joining j join elsewhere e on e.login = j.asked_login
            union
            select j.person_id, e.source from joining j join elsewhere e on e.email = j.email
            union
            select j.person_id, e.source from joining j join elsewhere e on e.employee_id = j.employee_id
        ) alike
        group by source
        order by 2 desc, 1
        limit 1
        """,  # a union, not an "or": each join can be hashed
        source,
    )
    return None if row is None else Overlap(*row)


async def count_changes(conn: Connection) -> int:
    """How many people the import changes in any way."""
    total: int = await conn.fetchval("select count(*) from people_after")
    return total


async def sample_difference(conn: Connection, most: int) -> list[tuple[str, Person, Person | None]]:
    """At most `most` people of each kind: joined, left, returned, moved, manager or changed; after and before."""
    columns = ", ".join(f"s.{name}" for name in PERSON_COLUMNS)
    before = ", ".join(f"p.{name}" for name in PERSON_COLUMNS)
    rows = await conn.fetch(
        f"""
        select s.kind, {columns}, {before}
        from (
            select *, row_number() over (partition by kind order by employee_id) as nth
            from (
                select *, case when joined then 'joined'
                               when status = 'inactive' and before_status <> 'inactive' then 'left'
                               when status <> 'inactive' and before_status = 'inactive' then 'returned'
                               when unit_id <> before_unit_id then 'moved'
                               when manager_id is distinct from before_manager_id then 'manager'
                               else 'changed' end as kind
                from people_after
            ) kinds
        ) s left join people p on p.id = s.id
        where s.nth <= $1
        order by s.kind, s.employee_id
        """,  # noqa: S608 - column names are ours
        most,
    )
    width = len(PERSON_COLUMNS)
    return [
        (row[0], person_of(row[1 : 1 + width]), person_of(row[1 + width :]) if row[1 + width] is not None else None)
        for row in (tuple(row) for row in rows)
    ]
