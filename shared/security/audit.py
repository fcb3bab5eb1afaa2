"""The append-only record of who did what to what belongs to somebody else."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.security.principal import Principal


async def audit(conn: Connection, who: Principal, action: str, subject: UUID, now: datetime) -> None:
    """Put on record that `who` did `action` (a stable word such as `results.read`) to what belongs to `subject`."""
    await conn.execute(
        "insert into audit_log (id, at, principal, action, subject) values ($1, $2, $3, $4, $5)",
        new_id(), now, who.id, action, subject,
    )  # fmt: skip


async def audit_all(conn: Connection, who: Principal, action: str, subjects: Sequence[UUID], now: datetime) -> None:
    """The same for many subjects at once, such as a page of a list."""
    await conn.execute(
        """
        insert into audit_log (id, at, principal, action, subject)
        select id, $3, $4, $5, subject from unnest($1::uuid[], $2::uuid[]) as t(id, subject)
        """,
        [new_id() for _ in subjects], subjects, now, who.id, action,
    )  # fmt: skip
