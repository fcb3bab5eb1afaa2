"""What must happen later: durable rows with a due time, claimed set-wise."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from opentelemetry.context import Context

from shared.clock import Clock
from shared.observability.tracing import context_from, traceparent_of
from shared.postgres.failures import is_outage
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """A timer whose time has come. `context` is the trace context in which it was scheduled."""

    kind: str
    key: str
    due_at: datetime
    payload: dict[str, Any]
    attempts: int
    context: Context


TimerHandler = Callable[[Connection, Sequence[Due], datetime], Awaitable[None]]
"""Runs in the transaction that claims the timers; they are gone when it commits, unless it schedules them again."""


@dataclass(frozen=True, slots=True)
class OneAtATime:
    """A handler that is given one timer at a time, each in a transaction of its own.

    For long work, that must neither wait for another's end to be kept nor be undone and done again with it. A process
    may be in the middle of `at_once` of them.
    """

    handle: Callable[[Connection, Due, datetime], Awaitable[None]]
    at_once: int = 1

    async def __call__(self, conn: Connection, due: Sequence[Due], now: datetime) -> None:
        """As a `TimerHandler`."""
        for one in due:
            await self.handle(conn, one, now)


async def schedule(
    conn: Connection, kind: str, key: str, due_at: datetime, payload: Mapping[str, Any] | None = None
) -> None:
    """Have `kind` happen for `key` at `due_at`; replaces what was scheduled for that key before."""
    await schedule_many(conn, kind, [(key, due_at, payload or {})])


async def schedule_many(conn: Connection, kind: str, rows: Sequence[tuple[str, datetime, Mapping[str, Any]]]) -> None:
    """The same for many keys in one statement."""
    traceparent, tracestate = traceparent_of(None)
    await conn.execute(
        """
        insert into timers (kind, key, due_at, payload, traceparent, tracestate)
        select $1, key, due_at, payload, $5, $6 from unnest($2::text[], $3::timestamptz[], $4::jsonb[])
            as t(key, due_at, payload) order by key
        on conflict (kind, key) do update set due_at = excluded.due_at, payload = excluded.payload, attempts = 0,
            last_error = null, traceparent = excluded.traceparent, tracestate = excluded.tracestate
        """,
        kind, [row[0] for row in rows], [row[1] for row in rows], [dict(row[2]) for row in rows],
        traceparent, tracestate,
    )  # fmt: skip


async def cancel(conn: Connection, kind: str, keys: Sequence[str]) -> None:
    """Forget what was scheduled for these keys; unknown ones are ignored."""
    await conn.execute("delete from timers where kind = $1 and key = any($2::text[])", kind, keys)


class Timers:
    """Runs due timers of one service. Several processes may run it: each claims its own rows."""

    def __init__(self, pool: Pool, clock: Clock, handlers: Mapping[str, TimerHandler], *, batch: int = 500) -> None:
        self._pool = pool
        self._clock = clock
        self._handlers = dict(handlers)
        self._batch = batch

    @property
    def kinds(self) -> Sequence[str]:
        """What this service schedules. A worker ticks each on its own, so that a long one delays no other."""
        return list(self._handlers)

    def at_once(self, kind: str) -> int:
        """How many loops may tick this kind side by side."""
        handler = self._handlers[kind]
        return handler.at_once if isinstance(handler, OneAtATime) else 1

    async def due(self) -> list[str]:
        """The kinds of which any is due: one look for all. Raises when the database is away."""
        return await self._pool.fetchval(  # type: ignore[no-any-return]
            """
            select coalesce(array_agg(kind), '{}') from unnest($1::text[]) as k(kind)
            where exists (select from timers t where t.kind = k.kind and t.due_at <= $2)
            """,
            self.kinds, self._clock.now(),
        )  # fmt: skip

    async def tick(self, *kinds: str) -> int:
        """Run what is due now, of these kinds or of all; returns how many ran. Raises when the database is away."""
        ran = 0
        for kind in kinds or self._handlers:
            limit = 1 if isinstance(self._handlers[kind], OneAtATime) else self._batch
            while count := await self._run(kind, limit):
                ran += count
        return ran

    async def _run(self, kind: str, limit: int) -> int:
        now = self._clock.now()
        due: list[Due] = []
        try:
            async with transaction(self._pool) as conn:
                due = await _claim(conn, kind, now, limit)
                if due:
                    await self._handlers[kind](conn, due, now)
            return len(due)
        except Exception as error:
            if not due or await is_outage(self._pool, error):
                raise
            if limit > 1:  # find the faulty one: everything once, alone
                return sum([await self._run(kind, 1) for _ in range(limit) if await self._any_due(kind)])
            log.exception("timer failed", kind=kind)
            return await self._postpone(due[0], now, error)

    async def _any_due(self, kind: str) -> bool:
        found: bool = await self._pool.fetchval(
            "select exists (select from timers where kind = $1 and due_at <= $2)", kind, self._clock.now()
        )
        return found

    async def _postpone(self, failed: Due, now: datetime, error: Exception) -> int:
        delay = timedelta(seconds=min(2 ** min(failed.attempts, 12), 3600))
        await self._pool.execute(
            """
            update timers set due_at = $4, attempts = attempts + 1, last_error = $5
            where kind = $1 and key = $2 and due_at = $3 -- scheduled anew meanwhile: that counts
            """,
            failed.kind, failed.key, failed.due_at, now + delay, type(error).__name__,
        )  # fmt: skip
        return 1


async def _claim(conn: Connection, kind: str, now: datetime, limit: int) -> list[Due]:
    rows = await conn.fetch(
        """
        delete from timers where (kind, key) in (
            select kind, key from timers where kind = $1 and due_at <= $2
            order by due_at, key limit $3 for update skip locked)
        returning *
        """,
        kind, now, limit,
    )  # fmt: skip
    return sorted(
        (
            Due(row["kind"], row["key"], row["due_at"], row["payload"], row["attempts"],
                context_from(row["traceparent"], row["tracestate"]))
            for row in rows
        ),
        key=lambda due: (due.due_at, due.key),
    )  # fmt: skip
