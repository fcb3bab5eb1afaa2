"""What several services have of people, units, access and sign-ins, row by row: the owner's, and the copies."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from deploy.verify.store.tables import STATEMENT_SECONDS, Connection

_AT_A_TIME = 2000
_SAMPLES = 10


class Row(NamedTuple):
    """One row as texts. `about` is an id that may be shown; what the fields hold may not."""

    key: list[str]
    about: str
    fields: list[str | None]


class Shape(NamedTuple):
    """A table: the columns of its primary key, and all its columns."""

    key: list[str]
    columns: list[str]


async def shape(conn: Connection, table: str) -> Shape | None:
    """As the database has it; None when there is no such table."""
    rows = await conn.fetch(
        """
        select a.attname as name, a.attnum = any(k.conkey) as is_key, array_position(k.conkey, a.attnum) as nth
        from pg_attribute a join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'p'
        where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum
        """,
        table,
    )
    if not rows:
        return None
    key = sorted((row for row in rows if row["is_key"]), key=lambda row: int(row["nth"]))
    return Shape([row["name"] for row in key], [row["name"] for row in rows])


async def rows(
    conn: Connection, table: str, key: Sequence[str], columns: Sequence[str], only: Sequence[Sequence[str]] | None
) -> AsyncIterator[list[Row]]:
    """Some at a time, in the order of their keys, in one snapshot; of all rows, or of `only` these keys."""
    texts = [f"{name}::text" for name in key]
    ordered = [f'({text}) collate "C"' for text in texts]  # as Python compares them
    about = "person_id::text" if "person_id" in (*key, *columns) else "null"
    given = ", ".join(f"${nth}::text[]" for nth, _ in enumerate(key, 1))
    query = (
        f"select array[{', '.join(texts)}] as key, coalesce({about}, {texts[0]}) as about, "  # noqa: S608 - our names
        f"array[{', '.join(f'{name}::text' for name in columns)}]::text[] as fields from {table} "
        f"where $1::text[] is null or ({', '.join(texts)}) in (select * from unnest({given})) "
        f"order by {', '.join(ordered)}"
    )
    wanted = [None if only is None else [each[nth] for each in only] for nth, _ in enumerate(key)]
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute("set local timezone to 'UTC'")
        cursor = await conn.cursor(query, *wanted, timeout=STATEMENT_SECONDS)
        while found := await cursor.fetch(_AT_A_TIME):
            yield [Row(*row) for row in found]


async def shared_logins(conn: Connection) -> tuple[int, list[list[str]]]:
    """How many logins more than one person at work holds, and who: never by which login."""
    found = await conn.fetch(
        """
        with twice as (
            select array_agg(id::text order by id) as people from people
            where login is not null and status <> 'inactive' group by login having count(*) > 1
        )
        select people, count(*) over () as logins from twice order by people limit $1
        """,
        _SAMPLES,
        timeout=STATEMENT_SECONDS,
    )
    return (found[0]["logins"] if found else 0), [row["people"] for row in found]
