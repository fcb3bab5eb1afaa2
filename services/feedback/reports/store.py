"""Every SQL statement on the cells of a report."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal
from uuid import UUID

import asyncpg

from services.feedback.reports.domain import Cell, CellState
from shared.events import Group, Practice
from shared.postgres.pool import Connection


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


def _cell(row: asyncpg.Record) -> Cell:
    mean: Decimal | None = row["mean"]
    at_limit: Literal["floor", "ceiling"] | None = row["at_limit"]
    return Cell(
        Practice(row["practice"]), Group(row["respondent_group"]), CellState(row["state"]), row["n"], mean, row["low"],
        row["high"], at_limit,
    )  # fmt: skip
