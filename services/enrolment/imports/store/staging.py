"""What a file says, row by row, in a temporary table of one transaction: only what is doubtful comes into memory."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from services.enrolment.imports.rows import Row
from shared.events import PersonStatus
from shared.postgres.pool import Connection

ROW_COLUMNS = (
    "line, employee_id, given_name, family_name, unit, email, title, grade, manager, status, locale, time_zone, login"
)
SAID = "people p join people_said s on s.person_id = p.id and s.said_at = p.changed_at and p.status <> 'inactive'"
"""People whose prints hold."""


Use = Literal["here", "left", "faulty"]
"""Of whom a row tells: somebody who is there, somebody who has left, or of somebody it cannot be used for."""


class Staged(NamedTuple):
    """A row, with what is compared about it beside. None: as it was. An empty text: none."""

    line: int
    employee_id: str
    use: Use
    given_name: str | None = None
    family_name: str | None = None
    unit: int | None = None  # among the paths of the file
    email: str | None = None
    title: str | None = None
    grade: str | None = None
    manager: str | None = None
    status: PersonStatus | None = None
    locale: str | None = None
    time_zone: str | None = None
    login: str | None = None
    email_key: str | None = None
    login_key: str | None = None
    said: bytes | None = None  # the row's print, as long as nothing is told of it


async def begin(conn: Connection) -> None:
    await conn.execute(
        """
        set local work_mem = '64MB'; -- all rows of an import are joined with all people, one import at a time
        drop table if exists file_rows, file_units, people_leaving;
        create temporary table file_rows (
            line int, employee_id text, use text, given_name text, family_name text, unit int, email text, title text,
            grade text, manager text, status text, locale text, time_zone text, login text, email_key text,
            login_key text, said bytea,
            person_id uuid default gen_random_uuid(), -- whose it is, if nobody is known by the employee id
            settled boolean default false, settled_login text
        ) on commit drop;
        create temporary table file_units (unit int, unit_id uuid) on commit drop;
        create temporary table people_leaving (person_id uuid, employee_id text, is_named boolean) on commit drop
        """
    )


async def add(conn: Connection, rows: Sequence[Staged]) -> None:
    await conn.copy_records_to_table("file_rows", records=rows, columns=Staged._fields)


async def analyze(conn: Connection) -> None:
    await conn.execute("analyze file_rows")


async def used_units(conn: Connection) -> set[int]:
    """Those of the file's paths that people are in."""
    return {row[0] for row in await conn.fetch("select distinct unit from file_rows where use = 'here'")}


async def add_units(conn: Connection, unit_ids: Iterable[tuple[int, UUID]]) -> None:
    """Which unit each path of the file is."""
    await conn.copy_records_to_table("file_units", records=unit_ids)
    await conn.execute("analyze file_units")


async def prints(conn: Connection, source: str) -> tuple[bytes, bytes]:
    """The prints of a source's people that hold, sorted, one after another; and for each `y` if the person has the
    employee id as the login, else `n`.
    """
    row = await conn.fetchrow(
        f"""
        select string_agg(said, '' order by said),
               string_agg(case when login = employee_id then 'y'::bytea else 'n' end, '' order by said)
        from {SAID} where source = $1
        """,  # noqa: S608 - a constant of this module
        source,
    )
    return (row[0] or b"", row[1] or b"") if row is not None else (b"", b"")


async def prints_of_staged(conn: Connection, source: str) -> AsyncIterator[bytes]:
    """Of people about whom there is a row here: if another line says their print, both tell of them."""
    async for row in conn.cursor(
        f"""
        select said from {SAID} where source = $1 and employee_id in (select employee_id from file_rows)
        """,  # noqa: S608 - a constant of this module
        source,
        prefetch=2_000,
    ):
        yield row[0]


async def prints_with_staged_emails(conn: Connection, source: str) -> list[bytes]:
    """Of people whose address stands in a row here that is another's."""
    rows = await conn.fetch(
        f"""
        select s.said from {SAID} join file_rows f on f.email_key = lower(p.email collate "C")
        where p.source = $1 and f.use = 'here' and f.employee_id <> p.employee_id
        """,  # noqa: S608 - a constant of this module
        source,
    )
    return [row["said"] for row in rows]


async def prints_under_gone(conn: Connection, source: str) -> list[bytes]:
    """Of people whose manager leaves, or has left while they stayed as they were."""
    rows = await conn.fetch(
        f"""
        select s.said from {SAID} where p.source = $1 and p.manager_id in (
            select id from people where status = 'inactive' union all select person_id from people_leaving)
        """,  # noqa: S608 - a constant of this module
        source,
    )
    return [row["said"] for row in rows]


async def repeated(conn: Connection, paths: Sequence[tuple[str, ...]]) -> tuple[list[Row], set[str]]:
    """The usable rows of people about whom there are several lines, in the order of the file; and those of these
    people of whom a line cannot be used.
    """
    rows = await conn.fetch(
        f"""
        select use, {ROW_COLUMNS} from file_rows where employee_id in (
            select employee_id from file_rows group by employee_id having count(*) > 1 and bool_or(use <> 'faulty'))
        order by line
        """  # noqa: S608 - a constant of this module
    )
    faulty = {row["employee_id"] for row in rows if row["use"] == "faulty"}
    return [row_of(tuple(row)[1:], paths) for row in rows if row["use"] != "faulty"], faulty


async def sharing_an_email(conn: Connection, paths: Sequence[tuple[str, ...]]) -> list[Row]:
    """The rows with an address that stands in several, in the order of the file. They have none from now on."""
    rows = await conn.fetch(
        f"""
        select {ROW_COLUMNS} from file_rows where use = 'here' and email_key in (
            select email_key from file_rows where use = 'here' group by email_key having count(*) > 1)
        order by line
        """  # noqa: S608 - a constant of this module
    )
    if rows:
        await conn.execute(
            "update file_rows set email = null, said = null where line = any($1::int[])", [row["line"] for row in rows]
        )
    return [row_of(tuple(row), paths) for row in rows]


async def drop_lines(conn: Connection, lines: Collection[int]) -> None:
    await conn.execute("delete from file_rows where line = any($1::int[])", list(lines))


async def make_faulty(conn: Connection, employee_ids: Collection[str]) -> None:
    """No row about these can be used."""
    await conn.execute("update file_rows set use = 'faulty' where employee_id = any($1::text[])", list(employee_ids))


async def known_among(conn: Connection, source: str, employee_ids: Collection[str]) -> set[str]:
    rows = await conn.fetch(
        "select employee_id from people where source = $1 and employee_id = any($2::text[])", source, list(employee_ids)
    )
    return {row[0] for row in rows}


async def who_has_email(conn: Connection, source: str, emails: Collection[str]) -> Mapping[str, str]:
    """The employee id of whoever is known with one of these addresses, all in small letters."""
    rows = await conn.fetch(
        """
        select employee_id, email from people
        where source = $1 and (lower(email collate "C") = any($2::text[]) or email ~ '[^ -~]')
        """,
        source,
        list(emails),
    )
    return {row["email"].lower(): row["employee_id"] for row in rows}


async def take_away_managers(conn: Connection, employee_ids: Collection[str]) -> None:
    """These have none, and it was told."""
    await conn.execute(
        "update file_rows set manager = '', said = null where use = 'here' and employee_id = any($1::text[])",
        list(employee_ids),
    )


async def settle_logins(conn: Connection, logins: Mapping[str, str | None], told: Collection[str]) -> None:
    """These have these logins, whatever the file asks for; of whom something was `told`, it is told again next time."""
    await conn.execute(
        """
        update file_rows f set settled = true, settled_login = t.login,
               said = case when t.is_told then null else f.said end
        from unnest($1::text[], $2::text[], $3::bool[]) t(employee_id, login, is_told)
        where f.use = 'here' and f.employee_id = t.employee_id
        """,
        list(logins),
        list(logins.values()),
        [who in told for who in logins],
    )


class Counted(NamedTuple):
    """How many people the rows tell of.

    kept: known ones about whom a row cannot be used. left_before: unknown ones who have left.
    """

    here: int
    left: int
    kept: int
    left_before: int


async def count(conn: Connection, source: str) -> Counted:
    row = await conn.fetchrow(
        """
        select count(*) filter (where use = 'here'), count(*) filter (where use = 'left'),
               count(distinct f.employee_id) filter (where use = 'faulty' and p.id is not null),
               count(*) filter (where use = 'left' and p.id is null)
        from file_rows f left join people p on p.source = $1 and p.employee_id = f.employee_id
        """,
        source,
    )
    assert row is not None  # noqa: S101 - an aggregate without grouping has one row
    return Counted(*row)


async def set_out_leaving(conn: Connection, source: str, unseen: bytes, size: int, *, full: bool) -> tuple[int, int]:
    """Set out whoever goes from here to gone: named as left, or absent from a file that is meant to be full.

    Returns how many, and how many of them are named.

    `unseen`: the prints that no line has, of `size` bytes each.
    """
    rows = await conn.fetch(
        """
        with unseen as (
            select substr($2::bytea, nth * $3::int + 1, $3) as said
            from generate_series(0, length($2::bytea) / $3 - 1) nth
        ), about as (
            select employee_id, bool_and(use = 'left') as is_left from file_rows group by employee_id
        ), gone as (
            insert into people_leaving
            select p.id, p.employee_id, a.employee_id is not null
            from people p left join about a using (employee_id)
            left join people_said s on s.person_id = p.id and s.said_at = p.changed_at
            where p.source = $1 and p.status <> 'inactive'
              and case when a.employee_id is not null then a.is_left
                       else $4 and (s.said is null or s.said in (select said from unseen)) end
            returning is_named
        )
        select is_named, count(*) from gone group by is_named
        """,
        source,
        unseen,
        size,
        full,
    )
    found = {row[0]: row[1] for row in rows}
    return sum(found.values()), found.get(True, 0)


async def keep_those_not_named(conn: Connection) -> None:
    """Nobody leaves but those whom the file says to have left."""
    await conn.execute("delete from people_leaving where not is_named")


def row_of(values: Sequence[Any], paths: Sequence[tuple[str, ...]]) -> Row:
    """The row in the values of ROW_COLUMNS."""
    line, who, given, family, unit, email, title, grade, manager, status, *rest = values
    told = None if status is None else PersonStatus(status)
    return Row(line, who, given, family, paths[unit], email, title, grade, manager, told, *rest)
