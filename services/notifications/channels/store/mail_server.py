"""Since when the mail server has answered, or has not."""

from dataclasses import dataclass
from datetime import datetime

from services.notifications.channels.domain import ServerFault
from shared.postgres.pool import Connection


async def note_mail_server(conn: Connection, *, reachable: bool, reason: ServerFault | None, now: datetime) -> None:
    """Keep since when the mail server has answered, or has not."""
    await conn.execute(
        """
        insert into mail_server (reachable, reason, changed_at) values ($1, $2, $3)
        on conflict (only_row) do update set reachable = $1, reason = $2, changed_at = $3
        where mail_server.reachable <> $1
        """,
        reachable,
        reason,
        now,
    )


@dataclass(frozen=True, slots=True)
class MailServerState:
    reachable: bool
    reason: str | None
    changed_at: datetime


async def mail_server_state(conn: Connection) -> MailServerState | None:
    """What was last noted about the mail server; None before the first mail."""
    row = await conn.fetchrow("select reachable, reason, changed_at from mail_server")
    return MailServerState(**dict(row)) if row else None
