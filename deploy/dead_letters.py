"""Dead letters, for people who decide about them: read, tried again or given up. Every look and deed is audited.

The records lie in the database of the service that could not handle them (ADR 0003).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from services.enrolment.access.actions import CONSOLE
from shared.postgres.pool import Connection
from shared.security.audit import audit, audit_all

READ, REPLAYED, DISCARDED = "dead_letter.read", "dead_letter.replayed", "dead_letter.discarded"

State = Literal["dead", "parked", "discarded"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A record set aside: where it came from, why, and exactly what it holds. The content may be personal data."""

    id: UUID
    service: str
    state: str
    handler: str | None
    event_id: UUID | None
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str | None
    attempts: int
    since: datetime
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    value: bytes | None

    @property
    def type(self) -> str:
        """The event's type, as far as its header can be read."""
        for name, value in self.headers:
            if name == "ce_type" and value:
                return value.decode(errors="replace")
        return "(unknown)"


async def letters(
    conn: Connection, service: str, state: State, *, reason: str | None = None, limit: int | None = None
) -> list[Letter]:
    """Oldest first; of one reason, where given."""
    rows = await conn.fetch(
        """
        select * from set_aside where consumer = $1 and state = $2 and ($3::text is null or reason = $3)
        order by set_aside_at, id limit $4
        """,
        service, state, reason, limit,
    )  # fmt: skip
    return [_letter(row) for row in rows]


async def read(conn: Connection, letter_id: UUID, now: datetime) -> Letter | None:
    """One letter with its content; the look goes on record."""
    row = await conn.fetchrow("select * from set_aside where id = $1", letter_id)
    if row is None:
        return None
    await audit(conn, CONSOLE, READ, letter_id, now)
    return _letter(row)


async def state_of(conn: Connection, letter_id: UUID) -> str | None:
    """Its state; 'replayed' when it was tried again and is gone since, None when it was never here."""
    state: str | None = await conn.fetchval("select state from set_aside where id = $1", letter_id)
    if state is None and await conn.fetchval(
        "select exists (select from audit_log where subject = $1 and action = $2)", letter_id, REPLAYED
    ):
        return "replayed"
    return state


async def replay(conn: Connection, ids: Sequence[UUID], now: datetime, keep_trying: timedelta) -> list[UUID]:
    """Have the service's worker try these again, of those that are dead letters. Returns which were."""
    rows = await conn.fetch(
        """
        update set_aside set state = 'parked', retry_at = $2, expires_at = $3
        where id = any($1::uuid[]) and state = 'dead' returning id
        """,
        ids, now, now + keep_trying,
    )  # fmt: skip
    return await _audited(conn, REPLAYED, rows, now)


async def discard(conn: Connection, ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """Give these up for good: what they hold is dropped, that they were there is kept. Returns which were dead."""
    rows = await conn.fetch(
        """
        update set_aside set state = 'discarded', key = null, headers = '[]', value = null
        where id = any($1::uuid[]) and state = 'dead' returning id
        """,
        ids,
    )
    return await _audited(conn, DISCARDED, rows, now)


async def _audited(conn: Connection, action: str, rows: Sequence[Any], now: datetime) -> list[UUID]:
    ids = [row["id"] for row in rows]
    await audit_all(conn, CONSOLE, action, ids, now)
    return ids


def _letter(row: Any) -> Letter:
    headers = [(name, None if value is None else base64.b64decode(value)) for name, value in row["headers"]]
    return Letter(
        id=row["id"], service=row["consumer"], state=row["state"], handler=row["handler"], event_id=row["event_id"],
        topic=row["topic"], partition=row["partition"], offset=row["offset"], reason=row["reason"],
        detail=row["detail"], attempts=row["attempts"], since=row["set_aside_at"], key=row["key"], headers=headers,
        value=row["value"],
    )  # fmt: skip
