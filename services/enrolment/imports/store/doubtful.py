"""The rows of a file whose manager or login may not be had, and who else has a say in it. Stands on `staging`.

Everybody else of the file gets what it asks for; only these few are settled in memory.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from services.enrolment.imports.domain import Known
from services.enrolment.imports.rows import Row
from services.enrolment.imports.store.staging import ROW_COLUMNS, row_of
from shared.events import PersonStatus
from shared.postgres.pool import Connection


class Reporting(NamedTuple):
    """rows: those whose manager cannot be one, and all who are somebody's manager: every circle is among them.
    known: by employee id, people known who are somebody's manager, or are named as one. gone: those of them, and of the
    file, who leave or have left. prints: of the known, whether or not they hold.
    """

    rows: dict[str, Row]
    known: dict[str, Known]
    gone: set[str]
    prints: dict[str, bytes]


async def reporting(conn: Connection, source: str, paths: Sequence[tuple[str, ...]]) -> Reporting:
    """Who may be in a circle, or report to somebody who is not there."""
    await conn.execute("drop table if exists file_managers")
    await conn.execute(
        """
        create temporary table file_managers on commit drop as
        select named.employee_id, h.line is not null as is_here,
               h.line is not null or (p.id is not null and p.status <> 'inactive' and g.person_id is null) as stays,
               l.employee_id is not null or g.person_id is not null as is_gone, p.id as person_id
        from (
            select manager as employee_id from file_rows where use = 'here' and manager <> ''
            union
            select m.employee_id from people p join people m on m.id = p.manager_id
            where p.source = $1 and exists (select from file_rows where manager <> '')
              and (p.status <> 'inactive' or p.employee_id in (select employee_id from file_rows where use = 'here'))
        ) named
        left join file_rows h on h.use = 'here' and h.employee_id = named.employee_id
        left join (select distinct employee_id from file_rows where use = 'left') l on l.employee_id = named.employee_id
        left join people p on p.source = $1 and p.employee_id = named.employee_id
        left join people_leaving g on g.person_id = p.id
        """,
        source,
    )
    rows = await conn.fetch(
        f"""
        select {ROW_COLUMNS} from file_rows f
        where use = 'here' and (
            manager = employee_id or manager in (select employee_id from file_managers where not stays)
            or employee_id in (select employee_id from file_managers))
        """  # noqa: S608 - a constant of ours
    )
    known = await conn.fetch(
        """
        select p.employee_id, p.status, m.employee_id as manager, s.said
        from file_managers f join people p on p.id = f.person_id left join people m on m.id = p.manager_id
        left join people_said s on s.person_id = p.id
        """
    )
    gone = await conn.fetch("select employee_id from file_managers where is_gone")
    return Reporting(
        {row["employee_id"]: row_of(tuple(row), paths) for row in rows},
        {who: Known(PersonStatus(status), None, manager, None) for who, status, manager, _ in known},
        {row[0] for row in gone},
        {row["employee_id"]: row["said"] for row in known if row["said"]},
    )


_ASKED = """
    select f.employee_id, coalesce(f.login, p.login, case when p.id is null then f.employee_id end) as wanted,
           p.login as had, p.id, p.status
    from file_rows f left join people p on p.source = $1 and p.employee_id = f.employee_id
    where f.use = 'here'
"""
# Who has a login whatever this file says: all but those it tells of. Whoever leaves holds none back.
_HOLDS = """
    h.status <> 'inactive' and h.login is not null
    and not exists (select from people_leaving l where l.person_id = h.id)
    and not exists (select from file_rows f where f.use = 'here' and f.employee_id = h.employee_id and h.source = $1)
"""
# Materialized: where only their being is asked for, the planner reads all of both tables for each row.
_KEYED = f"""
    asked as materialized ({_ASKED}), keyed as materialized (
        select lower(wanted collate "C") as key, lower(had collate "C") as had_key,
               wanted is distinct from had as is_new
        from asked where wanted is not null
    ), also_held as materialized (
        select k.key, h.* from keyed k join people h on lower(h.login collate "C") = k.key
        where k.is_new and h.status <> 'inactive'
    ), held as materialized (select key from also_held h where {_HOLDS})
"""  # noqa: S608 - constants of this module


async def odd_logins(conn: Connection) -> list[str]:
    """All that are asked for or held and are not plain ASCII: what they pass for, the database does not know."""
    rows = await conn.fetch(
        "select login from file_rows where login ~ '[^ -~]' union select login from people where login ~ '[^ -~]'"
    )
    return [row[0] for row in rows]


async def is_any_login_contested(conn: Connection, source: str, odd: Collection[str]) -> bool:
    """Whether two want the same login, or somebody wants one that another holds, or one that passes for an odd one."""
    contested: bool = await conn.fetchval(
        f"""
        with {_KEYED}
        select exists (select from keyed where key = any($2::text[]))
            or exists (select from asked where wanted ~ '[^ -~]')
            or exists (select from keyed group by key having count(*) > 1)
            or exists (select from held)
        """,  # noqa: S608 - constants of this module
        source,
        list(odd),
    )
    return contested


async def contested_logins(
    conn: Connection, source: str, odd: Collection[str], paths: Sequence[tuple[str, ...]]
) -> tuple[dict[str, Row], dict[str, Known], set[str]]:
    """Whose login cannot be given without a look at others: their rows, what is known of them, and what others hold.

    Whoever does not get a login falls back to the one they had, which another may have asked for: so everybody who
    gives one up is looked at, and whoever asks for it.
    """
    await conn.execute("drop table if exists login_keys")
    await conn.execute(
        f"""
        create temporary table login_keys on commit drop as
        with {_KEYED}
        select unnest($2::text[]) as key
        union select key from keyed group by key having count(*) > 1
        union select key from held
        union select had_key from keyed where is_new and had_key is not null
        """,  # noqa: S608 - constants of this module
        source,
        list(odd),
    )
    rows = await conn.fetch(
        f"""
        with asked as ({_ASKED}), doubtful as (
            select * from asked where wanted ~ '[^ -~]' or lower(wanted collate "C") in (select key from login_keys)
                or lower(had collate "C") in (select key from login_keys)
        )
        select d.id, d.status, d.had, {", ".join(f"f.{name}" for name in ROW_COLUMNS.split(", "))}
        from doubtful d join file_rows f on f.use = 'here' and f.employee_id = d.employee_id
        """,  # noqa: S608 - constants of this module
        source,
    )
    held = await conn.fetch(
        f"""
        with likely as materialized (
            select * from people
            where login ~ '[^ -~]' or lower(login collate "C") in (select key from login_keys)
        )
        select login from likely h where {_HOLDS}
        """,  # noqa: S608 - constants of this module
        source,
    )
    return (
        {row["employee_id"]: row_of(tuple(row)[3:], paths) for row in rows},
        {row["employee_id"]: Known(PersonStatus(row[1]), None, None, row["had"]) for row in rows if row["id"]},
        {row[0] for row in held},
    )


async def count_without_login(conn: Connection, source: str) -> int:
    """How many rows say no login whose people sign in with the employee id."""
    found: int = await conn.fetchval(
        f"""
        select count(*) from ({_ASKED}) a join file_rows f on f.use = 'here' and f.employee_id = a.employee_id
        where f.login is null and case when f.settled then f.settled_login else a.wanted end = f.employee_id
        """,  # noqa: S608 - constants of this module
        source,
    )
    return found
