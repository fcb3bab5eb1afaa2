"""Whose turn it is, what an attempt costs, and how an import is ended by hand."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.postgres.pool import Connection, Pool

_SOURCES = 0x6D65_646C  # first half of the advisory locks of sources; the second is a hash of the source's name


@dataclass(frozen=True, slots=True)
class Turn:
    """An unfinished import among the others. Within a source the oldest comes first; between sources those go first
    that were tried less often, so that one which kills its process holds nobody up.
    """

    source: str
    size: int
    attempts: int
    has_older: bool
    has_fresher: bool


async def find_turn(conn: Connection, import_id: UUID) -> Turn | None:
    """None when the import has ended."""
    row = await conn.fetchrow(
        """
        with heads as (
            select distinct on (source) source, id, attempts from imports
            where status in ('queued', 'running') order by source, created_at, id
        )
        select i.source, i.size, i.attempts,
               exists (select from heads h where h.source = i.source and h.id <> i.id),
               exists (select from heads h where h.source <> i.source and h.attempts < i.attempts)
        from imports i where i.id = $1 and i.status in ('queued', 'running')
        """,
        import_id,
    )
    return None if row is None else Turn(*row)


async def take_source(conn: Connection, source: str) -> bool:
    """Whether this transaction is now the only one that works for the source, until it ends."""
    taken: bool = await conn.fetchval("select pg_try_advisory_xact_lock($1, hashtext($2))", _SOURCES, source)
    return taken


@dataclass(frozen=True, slots=True)
class ImportAttempt:
    """One beginning of an import: which it is, how far the one before came, and who asked to end it meanwhile."""

    number: int
    last_phase: str
    cancelled_by: str | None


async def begin(pool: Pool, import_id: UUID, now: datetime, *, counted: bool) -> ImportAttempt | None:
    """Count an attempt, and commit that before any work: whatever becomes of the process, it was one.

    None when the import has ended. Not `counted` when the last attempt ended for a reason that was not the import's.
    """
    row = await pool.fetchrow(
        """
        with before as (select id, phase from imports where id = $1)
        update imports i set status = 'running', phase = 'reading', percent = 0, attempts = attempts + $3::int,
               started_at = coalesce(started_at, $2)
        from before where i.id = before.id and i.status in ('queued', 'running')
        returning i.attempts, before.phase, i.cancelled_by
        """,
        import_id,
        now,
        1 if counted else 0,
    )
    return None if row is None else ImportAttempt(*row)


async def give_back(pool: Pool, import_id: UUID) -> None:
    """The attempt under way does not count: the process was asked to end."""
    await pool.execute(
        "update imports set attempts = attempts - 1 where id = $1 and status = 'running' and attempts > 0", import_id
    )


async def is_asked_to_end(pool: Pool, import_id: UUID) -> bool:
    asked: bool | None = await pool.fetchval("select cancelled_by is not null from imports where id = $1", import_id)
    return asked is not False


async def end_by_hand(conn: Connection, import_id: UUID, by: str, now: datetime, *, also_running: bool) -> bool:
    """End an import that nobody works on; False when somebody began to, or it has ended."""
    found = await conn.fetchval(
        """
        update imports set status = 'cancelled', cancelled_by = coalesce(cancelled_by, $2), finished_at = $3,
               content = null
        where id = $1 and status = any($4::text[]) returning true
        """,
        import_id,
        by,
        now,
        ["queued", "running"] if also_running else ["queued"],
    )
    return found is True


async def ask_to_end(conn: Connection, import_id: UUID, by: str) -> bool:
    """Ask whoever works on it to end it; False when somebody asked before, or it has ended."""
    found = await conn.fetchval(
        "update imports set cancelled_by = $2 where id = $1 and status = 'running' and cancelled_by is null "
        "returning true",
        import_id,
        by,
    )
    return found is True
