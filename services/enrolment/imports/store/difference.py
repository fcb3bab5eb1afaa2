"""What the file says, set against what is known, in temporary tables of one transaction. Stands on `staging`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.enrolment.imports.domain import Overlap
from services.enrolment.people.domain import Person
from services.enrolment.people.store import PERSON_COLUMNS, person_of
from shared.postgres.pool import Connection

_AFTER = (
    "id, source, employee_id, login, given_name, family_name, email, title, grade, unit_id, manager_id, status, "
    "locale, time_zone, changed_at, joined, before_unit_id, before_manager_id, before_status"
)
_ONE_AT_A_TIME = 0x6D65_646C_0001  # advisory lock: two imports would each compare with what the other replaces


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
    """Whether this transaction is now the only one that compares and writes, until it ends. Does not wait, so that
    its caller can give up.
    """
    alone: bool = await conn.fetchval("select pg_try_advisory_xact_lock($1)", _ONE_AT_A_TIME)
    return alone


async def has_people_elsewhere(conn: Connection, source: str) -> bool:
    """Whether another source has anybody who has not left."""
    found: bool = await conn.fetchval(
        "select exists (select from people where source <> $1 and status <> 'inactive')", source
    )
    return found


async def count_active(conn: Connection, source: str) -> int:
    """How many of a source's people have not left."""
    found: int = await conn.fetchval("select count(*) from people where source = $1 and status <> 'inactive'", source)
    return found


async def compare(conn: Connection, source: str, *, locale: str, time_zone: str, now: datetime) -> None:
    """Set out, among those staged, whoever is new or differs, and those who leave: inactive, all else as it was.

    `locale` and `time_zone` are for the new ones without.
    """
    # The people whom an import changes, as they will be.
    await conn.execute(
        """
        drop table if exists people_after;
        create temporary table people_after (
            like people, joined boolean not null, before_unit_id uuid, before_manager_id uuid, before_status text
        ) on commit drop
        """
    )
    await conn.execute(
        f"""
        insert into people_after ({_AFTER})
        select w.id, $1, w.employee_id, w.login, w.given_name, w.family_name, w.email, w.title, w.grade, w.unit_id,
               w.manager_id, w.status, w.locale, w.time_zone, $4, p_id is null, p_unit_id, p_manager_id,
               p_status
        from (
            select coalesce(p.id, f.person_id) as id, f.employee_id,
                   case when f.settled then f.settled_login
                        else coalesce(f.login, p.login, case when p.id is null then f.employee_id end) end as login,
                   f.given_name, f.family_name,
                   case when f.email is null then p.email else nullif(f.email, '') end as email,
                   case when f.title is null then p.title else nullif(f.title, '') end as title,
                   case when f.grade is null then p.grade else nullif(f.grade, '') end as grade,
                   u.unit_id,
                   case when f.manager is null then p.manager_id
                        when f.manager <> '' then coalesce(m.id, h.person_id) end as manager_id,
                   coalesce(f.status, case p.status when 'on_leave' then 'on_leave' else 'active' end) as status,
                   coalesce(f.locale, p.locale, $2) as locale,
                   coalesce(f.time_zone, p.time_zone, $3) as time_zone,
                   p.id as p_id, p.unit_id as p_unit_id, p.manager_id as p_manager_id, p.status as p_status,
                   (p.login, p.given_name, p.family_name, p.email, p.title, p.grade, p.unit_id, p.manager_id, p.status,
                    p.locale, p.time_zone) as was
            from file_rows f
            join file_units u using (unit)
            left join people p on p.source = $1 and p.employee_id = f.employee_id
            left join people m on m.source = $1 and m.employee_id = f.manager
            left join file_rows h on h.use = 'here' and h.employee_id = f.manager
            where f.use = 'here'
        ) w
        where p_id is null
           or (w.login, w.given_name, w.family_name, w.email, w.title, w.grade, w.unit_id, w.manager_id, w.status,
               w.locale, w.time_zone) is distinct from was
        """,  # noqa: S608 - a constant of this module
        source,
        locale,
        time_zone,
        now,
    )
    await conn.execute(
        f"""
        insert into people_after ({_AFTER})
        select id, source, p.employee_id, login, given_name, family_name, email, title, grade, unit_id, manager_id,
               'inactive', locale, time_zone, $1, false, unit_id, manager_id, status
        from people p join people_leaving on person_id = id
        """,  # noqa: S608 - a constant of this module
        now,
    )


async def set_out_logins_passed_on(conn: Connection, now: datetime) -> int:
    """Whoever has left, and whose login somebody has now, has none; how many change for that alone."""
    await conn.execute(
        """
        update people_after a set login = null
        from people_after w
        where a.status = 'inactive' and w.status <> 'inactive' and w.login = a.login and w.id <> a.id
        """
    )
    done = await conn.execute(
        f"""
        insert into people_after ({_AFTER})
        select p.id, p.source, p.employee_id, null, p.given_name, p.family_name, p.email, p.title, p.grade, p.unit_id,
               p.manager_id, p.status, p.locale, p.time_zone, $1, false, p.unit_id, p.manager_id, p.status
        from people p join people_after w on w.login = p.login and w.id <> p.id and w.status <> 'inactive'
        where p.status = 'inactive' and not exists (select from people_after a where a.id = p.id)
        """,  # noqa: S608 - a constant of this module
        now,
    )
    return int(done.rpartition(" ")[2])


async def employee_ids(conn: Connection, source: str, person_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Of these people of the source, known or new."""
    rows = await conn.fetch(
        """
        select id, employee_id from people where source = $1 and id = any($2::uuid[])
        union select id, employee_id from people_after where id = any($2::uuid[])
        """,
        source,
        person_ids,
    )
    return {row["id"]: row["employee_id"] for row in rows}


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
            select a.id as person_id, a.employee_id, coalesce(f.login, f.employee_id) as asked_login,
                   lower(a.email) as email
            from people_after a join file_rows f on f.use = 'here' and f.employee_id = a.employee_id
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
