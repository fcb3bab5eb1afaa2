"""What somebody may read of results: the person they are about, and nobody else."""

from uuid import UUID

from services.feedback.reports import store as reports
from services.feedback.reports.domain import Cell
from services.feedback.results import store
from services.feedback.results.store import OwnRound
from services.feedback.rounds.domain import RoundState
from shared.errors import ProblemError
from shared.http.pagination import Page, decode_cursor
from shared.postgres.pool import Connection
from shared.security.principal import Principal


async def own_rounds(conn: Connection, who: Principal, *, limit: int, cursor: str | None) -> Page[OwnRound]:
    """A page of the rounds about `who`; empty for a machine, which no round is about."""
    if who.person_id is None:
        return Page[OwnRound](items=[])
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    return await store.rounds_of_subject(conn, who.person_id, before=before, limit=limit)


async def own_report(conn: Connection, who: Principal, round_id: UUID) -> tuple[OwnRound, list[Cell]]:
    """The round and its cells.

    Raises ProblemError 404 unless it is about `who`, so that nobody learns that it exists.
    """
    own = await store.round_of_subject(conn, round_id, who.person_id) if who.person_id else None
    if own is None:
        raise ProblemError(404, "not-found", "Not found", "There is no such round about you.")
    cells = await reports.cells_of(conn, round_id) if own.state is RoundState.released else []
    return own, cells
