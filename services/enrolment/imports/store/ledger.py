"""Each import's own record: what was sent, how far it is, and how it ended."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shared.http.pagination import Page, fetch_page
from shared.postgres.pool import Connection


@dataclass(frozen=True, slots=True)
class Import:
    """One import as stored, without its content."""

    id: UUID
    source: str
    options: Mapping[str, Any]
    file_name: str | None
    size: int
    status: str
    phase: str
    percent: int
    counts: Mapping[str, int]
    report: Mapping[str, Any] | None
    attempts: int
    cancelled_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    kept_until: datetime | None
    followed_by: UUID | None
    has_file: bool

    @property
    def has_ended(self) -> bool:
        return self.status not in ("queued", "running")

    @property
    def can_go_on(self) -> bool:
        """Whether its file is still there after its end, for the import that follows."""
        return self.has_ended and self.has_file


_PIECE = 2 * 1024 * 1024  # bytes
_IMPORT = (
    "id, source, options, file_name, size, status, phase, percent, counts, report, attempts, cancelled_by, created_at, "
    "started_at, finished_at, kept_until, followed_by, content is not null as has_file"
)


async def add_import(
    conn: Connection, import_id: UUID, *, source: str, options: Mapping[str, Any], file_name: str | None,
    content: bytes, requested_by: str, now: datetime, kept_until: datetime | None = None,
) -> Import:  # fmt: skip
    row = await conn.fetchrow(
        f"""
        insert into imports (id, source, options, file_name, size, content, requested_by, created_at, kept_until)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning {_IMPORT}
        """,  # noqa: S608
        import_id, source, dict(options), file_name, len(content), content, requested_by, now, kept_until,
    )  # fmt: skip
    return Import(*_sure(row))


async def find_import(conn: Connection, import_id: UUID) -> Import | None:
    row = await conn.fetchrow(f"select {_IMPORT} from imports where id = $1", import_id)  # noqa: S608
    return Import(*row) if row is not None else None


async def list_imports(conn: Connection, before: UUID | None, limit: int) -> Page[Import]:
    """The newest first, without their reports; ids grow with time."""
    columns = _IMPORT.replace("report", "null::jsonb as report")
    return await fetch_page(
        conn,
        f"select {columns} from imports where $1::uuid is null or id < $1 order by id desc limit $2",  # noqa: S608
        before,
        limit=limit,
        item=lambda row: Import(*row),
    )


async def that_changed(conn: Connection, source: str, changed_at: datetime) -> Import | None:
    """The import of this source that changed people at that time; None when it is not known."""
    row = await conn.fetchrow(
        f"""
        select {_IMPORT} from imports
        where source = $1 and finished_at = $2 and status = 'done' and not (options ->> 'dry_run')::boolean
        """,  # noqa: S608
        source,
        changed_at,
    )
    return Import(*row) if row is not None else None


async def last_done(conn: Connection, source: str) -> Import | None:
    """The source's last import that was no dry run and was not refused."""
    row = await conn.fetchrow(
        f"""
        select {_IMPORT} from imports
        where source = $1 and status = 'done' and not (options ->> 'dry_run')::boolean
        order by created_at desc, id desc limit 1
        """,  # noqa: S608
        source,
    )
    return Import(*row) if row is not None else None


async def import_content(conn: Connection, import_id: UUID) -> bytes:
    """The file; empty when the import has ended. Fetched piece by piece: the driver has what it is sent three times."""
    content = io.BytesIO()
    while piece := await conn.fetchval(
        "select substr(content, $2, $3) from imports where id = $1", import_id, content.tell() + 1, _PIECE
    ):
        content.write(piece)
    return content.getvalue()


async def note_progress(conn: Connection, import_id: UUID, phase: str, percent: int, counts: Mapping[str, int]) -> bool:
    """On a connection of its own, so that it shows while the import's transaction still runs. Whether to go on."""
    asked_to_end: bool | None = await conn.fetchval(
        """
        update imports set status = 'running', phase = $2, percent = $3, counts = $4
        where id = $1 and status in ('queued', 'running') returning cancelled_by is not null
        """,
        import_id,
        phase,
        percent,
        dict(counts),
    )
    return asked_to_end is False


async def may_end_well(conn: Connection, import_id: UUID) -> bool:
    """Whether nobody asked to end it; from here to the end of the transaction nobody can."""
    asked_to_end: bool | None = await conn.fetchval(
        "select cancelled_by is not null from imports where id = $1 for update", import_id
    )
    return asked_to_end is False


async def end_import(
    conn: Connection, import_id: UUID, status: str, *, counts: Mapping[str, int], report: Mapping[str, Any],
    now: datetime,
) -> None:  # fmt: skip
    """Keep the outcome, and drop the file unless it is kept for an import that follows."""
    await conn.execute(
        """
        update imports set status = $2, phase = case when $2 = 'done' then 'done' else phase end,
               percent = case when $2 = 'done' then 100 else percent end,
               counts = $3, report = $4, finished_at = $5,
               content = case when kept_until > $5 and ($2 in ('refused', 'failed')
                                                       or $2 = 'done' and (options ->> 'dry_run')::boolean)
                              then content end
        where id = $1 and status in ('queued', 'running')
        """,
        import_id,
        status,
        dict(counts),
        dict(report),
        now,
    )


def _sure(row: asyncpg.Record | None) -> asyncpg.Record:
    if row is None:
        raise RuntimeError("an insert returned no row")
    return row
