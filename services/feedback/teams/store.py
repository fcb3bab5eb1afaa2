"""Every SQL statement on how people have stood in the organisation."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.feedback.teams.domain import Placement
from shared.events import PersonStatus
from shared.postgres.pool import Connection

_STANDING = """
    select s.person_id, s.manager_id, s.unit_id, s.status, s.address, s.until,
           case when s.since <= (select at from founding) then null else s.since end as since
    from standings s
"""


async def note_founding(conn: Connection, at: datetime) -> None:
    """The first import was made at this moment, unless an earlier one is known."""
    await conn.execute(
        """
        insert into founding (at) values ($1)
        on conflict (only_row) do update set at = excluded.at where excluded.at < founding.at
        """,
        at,
    )


async def in_force(conn: Connection, person_ids: Collection[UUID]) -> dict[UUID, Placement]:
    """The standing of each of these people now; `since` is when it was told, also for those who were there before."""
    rows = await conn.fetch(
        "select * from standings where person_id = any($1::uuid[]) and until is null", list(person_ids)
    )
    return {row["person_id"]: _standing(row) for row in rows}


async def end(conn: Connection, ended: Mapping[UUID, datetime]) -> None:
    await conn.execute(
        """
        update standings s set until = e.at from unnest($1::uuid[], $2::timestamptz[]) as e(person_id, at)
        where s.person_id = e.person_id and s.until is null
        """,
        list(ended),
        list(ended.values()),
    )


async def begin(conn: Connection, begun: Sequence[Placement]) -> None:
    await conn.execute(
        """
        insert into standings (person_id, since, manager_id, unit_id, status, address)
        select * from unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[])
        """,
        [one.person_id for one in begun],
        [one.since for one in begun],
        [one.manager_id for one in begun],
        [one.unit_id for one in begun],
        [one.status for one in begun],
        [one.address for one in begun],
    )


async def forget(conn: Connection, before: datetime) -> None:
    """Drop what ended before that moment."""
    await conn.execute("delete from standings where until < $1", before)


async def of_people(conn: Connection, person_ids: Collection[UUID], since: datetime) -> list[Placement]:
    """How these people have stood since that moment."""
    rows = await conn.fetch(
        f"{_STANDING} where s.person_id = any($1::uuid[]) and (s.until is null or s.until > $2)",
        list(person_ids),
        since,
    )
    return [_standing(row) for row in rows]


async def told_of(conn: Connection, person_ids: Collection[UUID]) -> set[UUID]:
    """Who of these people was ever told of, as far back as one looks: also somebody erased since."""
    rows = await conn.fetch("select person_id from standings where person_id = any($1::uuid[])", list(person_ids))
    return {row["person_id"] for row in rows}


async def under_managers(conn: Connection, manager_ids: Collection[UUID], since: datetime) -> list[Placement]:
    """Who has reported to these managers since that moment."""
    rows = await conn.fetch(
        f"{_STANDING} where s.manager_id = any($1::uuid[]) and (s.until is null or s.until > $2)",
        list(manager_ids),
        since,
    )
    return [_standing(row) for row in rows]


async def in_units(conn: Connection, unit_ids: Collection[UUID], since: datetime) -> list[Placement]:
    """Who has belonged to these units since that moment."""
    rows = await conn.fetch(
        f"{_STANDING} where s.unit_id = any($1::uuid[]) and (s.until is null or s.until > $2)", list(unit_ids), since
    )
    return [_standing(row) for row in rows]


def _standing(row: asyncpg.Record) -> Placement:
    return Placement(
        row["person_id"], row["manager_id"], row["unit_id"], PersonStatus(row["status"]), row["address"], row["since"],
        row["until"],
    )  # fmt: skip
