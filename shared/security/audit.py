"""The record of who did what to what belongs to somebody else. It is added to, and forgets in one way only."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.ids import new_id
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
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


async def forget(
    pool: Pool, by: str, *, before: datetime, now: datetime, about: UUID | None = None, most: int = 10_000
) -> int:
    """Forget what is older than `before`; with `about` only what was done to or by that person.

    `by` says who wanted it: a principal, or `medled:retention`. Each transaction forgets at most `most` entries and
    leaves one, `audit.forgotten`, which is never forgotten itself. Returns how many went.
    """
    forgotten, gone = 0, most
    while gone == most:
        async with transaction(pool) as conn:
            gone = await conn.fetchval(
                "select audit_log_forget($1, $2, $3, $4, $5, $6)", by, before, about, most, new_id(), now
            )
        forgotten += gone
    return forgotten
