"""Files that are kept for an import that follows, and where files came from.

A draft is a dry run whose file is kept.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from services.enrolment.imports.store.ledger import Import
from shared.postgres.pool import Connection

_SENDERS = 0x6D65_646D  # first half of the advisory locks of senders; the second is a hash of the sender's id
_MOST_KEPT = 10  # files of one sender, whatever their sources


async def hold(conn: Connection, import_id: UUID) -> None:
    """Let nobody else go on with this import, until this transaction ends."""
    await conn.execute("select from imports where id = $1 for update", import_id)


async def head(conn: Connection, import_id: UUID, most: int) -> bytes:
    """The first bytes of the file; none when it is no longer kept."""
    found: bytes | None = await conn.fetchval(
        "select substring(content for $2) from imports where id = $1", import_id, most
    )
    return found or b""


async def take_along(
    conn: Connection, import_id: UUID, follower: UUID, *, options: Mapping[str, Any], requested_by: str, now: datetime
) -> None:
    """Have another import of the same file follow, which then has the file."""
    await conn.execute(
        """
        with kept as (
            select source, file_name, size, content, kept_until from imports where id = $1
        ), follower as (
            insert into imports (id, source, options, file_name, size, content, requested_by, created_at, kept_until)
            select $2, source, $3, file_name, size, content, $4, $5, kept_until from kept
        )
        update imports set content = null where id = $1
        """,
        import_id, follower, dict(options), requested_by, now,
    )  # fmt: skip
    await conn.execute("update imports set followed_by = $2 where id = $1", import_id, follower)


async def is_overtaken(conn: Connection, draft: Import) -> bool:
    """Whether what a draft foresees was foreseen before another file of its source was imported, or is about to be.

    Within a source imports are worked on in the order in which they were sent.
    """
    found: bool = await conn.fetchval(
        """
        select exists (
            select from imports
            where source = $1 and (created_at, id) > ($2, $3) and status in ('queued', 'running', 'done')
              and not (options ->> 'dry_run')::boolean)
        """,
        draft.source,
        draft.created_at,
        draft.id,
    )
    return found


async def forget(conn: Connection, import_id: UUID) -> None:
    """Forget the file of one import."""
    await conn.execute("update imports set content = null where id = $1", import_id)


async def forget_older(conn: Connection, source: str, requested_by: str, now: datetime) -> None:
    """Make room for one more file of this sender, who keeps one of a source, and of all sources a few.

    What goes is forgotten at once, or ended first where it still waits or is worked on.
    """
    await conn.execute("select pg_advisory_xact_lock($1, hashtext($2))", _SENDERS, requested_by)
    rows = await conn.fetch(
        """
        select id from (
            select id, source, row_number() over (partition by source = $1 order by created_at desc, id desc) as nth
            from imports
            where requested_by = $2 and kept_until is not null and content is not null
              and (status not in ('queued', 'running') or (options ->> 'dry_run')::boolean)
        ) kept where source = $1 or nth >= $3
        """,
        source,
        requested_by,
        _MOST_KEPT,
    )
    older = [row["id"] for row in rows]
    await conn.execute(
        """
        update imports set cancelled_by = coalesce(cancelled_by, $2),
               status = case status when 'queued' then 'cancelled' else status end,
               finished_at = case status when 'queued' then $3 else finished_at end
        where id = any($1::uuid[]) and status in ('queued', 'running')
        """,
        older,
        requested_by,
        now,
    )
    # On its own, so that it also sees those that ended while the statement before waited for them.
    await conn.execute(
        "update imports set content = null where id = any($1::uuid[]) and status not in ('queued', 'running')", older
    )


async def forget_until(conn: Connection, now: datetime) -> bool:
    """Forget the files whose time is over; whether there is another, that still waits or is worked on."""
    await conn.execute(
        """
        update imports set content = null
        where kept_until <= $1 and content is not null and status not in ('queued', 'running')
        """,
        now,
    )
    is_left: bool = await conn.fetchval(
        "select exists (select from imports where kept_until <= $1 and content is not null)", now
    )
    return is_left


async def sources(conn: Connection) -> list[str]:
    """Every source that a file came from, the latest first."""
    rows = await conn.fetch("select source from imports group by source order by max(created_at) desc")
    return [row["source"] for row in rows]
