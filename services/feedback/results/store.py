"""Every SQL statement on the cells of a report, and on rounds as their subject sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import asyncpg

from services.feedback.results.domain import Cell, CellState
from services.feedback.rounds.domain import RoundState
from shared.events import Bucket, Group, Practice
from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class OwnRound:
    """A round as the person it is about may see it."""

    id: UUID
    milestone: str
    practices: tuple[Practice, ...]
    groups: tuple[Group, ...]
    k: int
    state: RoundState
    reason: str | None
    bucket: Bucket
    opened_at: datetime
    closes_at: datetime
    closed_on: date | None
    instrument_version: int


async def insert_cells(conn: Connection, cells: Sequence[tuple[UUID, Cell]]) -> None:
    await conn.execute(
        """
        insert into cells (round_id, practice, respondent_group, state, n, mean, low, high, at_limit)
        select * from unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::numeric[], $7::numeric[], $8::numeric[],
            $9::text[]
        )
        """,
        [round_id for round_id, _ in cells],
        [cell.practice for _, cell in cells],
        [cell.group for _, cell in cells],
        [cell.state for _, cell in cells],
        [cell.n for _, cell in cells],
        [cell.mean for _, cell in cells],
        [cell.low for _, cell in cells],
        [cell.high for _, cell in cells],
        [cell.at_limit for _, cell in cells],
    )


async def cells_of(conn: Connection, round_id: UUID) -> list[Cell]:
    """The round's report, ordered by practice and group as the round asked them."""
    rows = await conn.fetch(
        """
        select c.* from cells c join rounds r on r.id = c.round_id where c.round_id = $1
        order by array_position(r.practices, c.practice), array_position(r.groups, c.respondent_group)
        """,
        round_id,
    )
    return [_cell(row) for row in rows]


async def round_of_subject(conn: Connection, round_id: UUID, person_id: UUID) -> OwnRound | None:
    """The round, if it is about this person."""
    row = await conn.fetchrow("select * from rounds where id = $1 and subject_person_id = $2", round_id, person_id)
    return _own(row) if row else None


async def rounds_of_subject(conn: Connection, person_id: UUID, *, before: UUID | None, limit: int) -> Page[OwnRound]:
    """Rounds about this person, newest first (ids sort by time), older than `before`."""
    return await fetch_page(
        conn,
        """
        select * from rounds where subject_person_id = $1 and ($2::uuid is null or id < $2)
        order by id desc limit $3
        """,
        person_id,
        before,
        limit=limit,
        item=_own,
    )


def _cell(row: asyncpg.Record) -> Cell:
    mean: Decimal | None = row["mean"]
    at_limit: Literal["floor", "ceiling"] | None = row["at_limit"]
    return Cell(
        Practice(row["practice"]), Group(row["respondent_group"]), CellState(row["state"]), row["n"], mean, row["low"],
        row["high"], at_limit,
    )  # fmt: skip


def _own(row: asyncpg.Record) -> OwnRound:
    return OwnRound(
        id=row["id"],
        milestone=row["milestone"],
        practices=tuple(Practice(practice) for practice in row["practices"]),
        groups=tuple(Group(group) for group in row["groups"]),
        k=row["k"],
        state=RoundState(row["state"]),
        reason=row["reason"],
        bucket=Bucket(row["bucket"]),
        opened_at=row["opened_at"],
        closes_at=row["closes_at"],
        closed_on=row["closed_on"],
        instrument_version=row["instrument_version"],
    )
