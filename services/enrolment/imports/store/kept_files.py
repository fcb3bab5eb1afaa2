"""Files that are kept for an import that follows, and where files came from."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.postgres.pool import Connection


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


async def forget_older(conn: Connection, source: str, requested_by: str) -> None:
    """Forget the files that this sender has left behind: each keeps at most one of a source."""
    await conn.execute(
        """
        update imports set content = null
        where source = $1 and requested_by = $2 and kept_until is not null and content is not null
          and status not in ('queued', 'running')
        """,
        source,
        requested_by,
    )


async def forget_until(conn: Connection, now: datetime) -> None:
    """Forget the files whose time is over; one that waits or is worked on is dropped at its end."""
    await conn.execute(
        """
        update imports set content = null
        where kept_until <= $1 and content is not null and status not in ('queued', 'running')
        """,
        now,
    )


async def sources(conn: Connection) -> list[str]:
    """Every source that a file came from, the latest first."""
    rows = await conn.fetch("select source from imports group by source order by max(created_at) desc")
    return [row["source"] for row in rows]
