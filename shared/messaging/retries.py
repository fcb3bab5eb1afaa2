"""Later tries of records that were set aside: parked ones, and dead letters that a person replays (ADR 0003).

Each is tried alone, in a transaction of its own that begins by locking it: workers share the work, and none waits for a
record that fails.
"""

from typing import Any

from shared.clock import Clock
from shared.events.envelope import UndecodableError, UnknownTypeError
from shared.messaging import dead_letters, inbox
from shared.messaging.consumer import MAX_TIMEOUTS, Consumer
from shared.messaging.dead_letters import Owner, SetAside
from shared.messaging.dispatch import HandlerFailedError, apply
from shared.messaging.handler import Handler, Received, Rejected
from shared.postgres.failures import is_outage
from shared.postgres.migrate import as_newer_schema
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction


class EventRejectedError(Exception):
    """A handler refused the event when it was tried again."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.detail)
        self.reason = rejected.reason


class HandlerGoneError(LookupError):
    """The handler that a record was set aside for is no longer there, or has another name."""


class Retries:
    """Tries again what `consumer`, or an earlier process of its service, has set aside."""

    def __init__(self, pool: Pool, clock: Clock, consumer: Consumer) -> None:
        self._pool = pool
        self._clock = clock
        self._consumer = consumer

    async def tick(self, limit: int = 200) -> int:
        """Try what is due, at most `limit` records; returns how many. Raises when the database is away."""
        tried = 0
        if not await dead_letters.any_parked_due(self._pool, self._consumer.service, self._clock.now()):
            return tried
        while tried < limit and await self._retry_next():
            tried += 1
        return tried

    async def _retry_next(self) -> bool:
        tried: SetAside | None = None
        try:
            async with transaction(self._pool) as conn:
                tried = await dead_letters.claim_parked(conn, self._consumer.service, self._clock.now())
                if tried is not None:
                    await self._retry(conn, tried)
            return tried is not None
        except Exception as error:
            cause = error.__cause__ if isinstance(error, HandlerFailedError) else error
            if tried is None:
                raise
            if cause is not None and await is_outage(self._pool, cause):
                raise cause from None
            if newer := await as_newer_schema(self._pool, self._consumer.migrations, cause):
                raise newer from None
            failure, was_slow = error, isinstance(cause, TimeoutError)
        async with transaction(self._pool) as conn:
            if await dead_letters.claim_parked(conn, self._consumer.service, self._clock.now(), only=tried.id):
                if was_slow and tried.attempts < MAX_TIMEOUTS:
                    await dead_letters.reschedule(conn, tried, "it took too long", self._clock.now())
                else:
                    await self._give_up(conn, tried, *_reason_and_detail(failure))
        return True

    async def _retry(self, conn: Connection, stored: SetAside) -> None:
        event = self._consumer.handlers.decode(stored.record)
        if stored.handler is None:
            await self._retry_all_handlers(conn, stored, event)
        elif handler := self._consumer.handlers.by_name.get(stored.handler):
            await self._retry_handler(conn, stored, handler, event)
        else:
            raise HandlerGoneError(f"no handler is called {stored.handler} any more")

    async def _retry_handler(self, conn: Connection, stored: SetAside, handler: Handler, event: Received[Any]) -> None:
        waits_for = await self._apply(conn, handler, event)
        now = self._clock.now()
        if waits_for is None:
            await dead_letters.resolve(conn, [stored.id])
        elif stored.expires_at is not None and stored.expires_at <= now:
            await self._give_up(conn, stored, "parent_never_came", waits_for)
        else:
            await dead_letters.reschedule(conn, stored, waits_for, now)

    async def _retry_all_handlers(self, conn: Connection, stored: SetAside, event: Received[Any]) -> None:
        """For a record that no single handler was blamed for; from here on it waits for each of them alone."""
        for handler in self._consumer.handlers.by_type[event.type]:
            admitted = await inbox.admit(conn, handler, [event], however_old=True)
            if admitted.rejected:
                raise EventRejectedError(admitted.rejected[0])
            if not admitted.fresh:
                continue  # it has had it
            waits_for = await self._apply(conn, handler, event)
            if waits_for is not None:
                await inbox.mark(conn, handler.name, [event.id], "parked")
                await dead_letters.park(
                    conn, stored.record, Owner(self._consumer.service, self._consumer.epoch, handler.name, event.id),
                    waiting_for=waits_for, now=self._clock.now(), timeout=self._consumer.park_timeout,
                )  # fmt: skip
        await dead_letters.resolve(conn, [stored.id])

    async def _apply(self, conn: Connection, handler: Handler, event: Received[Any]) -> str | None:
        """What it still has to wait for; None when it is handled."""
        if await inbox.is_superseded(conn, handler, event):
            await inbox.mark(conn, handler.name, [event.id], "superseded")
            return None
        for answer in await apply(conn, handler, [event], self._clock.now()):
            if isinstance(answer, Rejected):
                raise EventRejectedError(answer)
            return answer.waiting_for
        await inbox.mark(conn, handler.name, [event.id], "applied")
        return None

    async def _give_up(self, conn: Connection, stored: SetAside, reason: str, detail: str) -> None:
        if stored.handler and stored.event_id:
            await inbox.mark(conn, stored.handler, [stored.event_id], "dead")
        owner = Owner(self._consumer.service, self._consumer.epoch, stored.handler, stored.event_id)
        await dead_letters.give_up(conn, stored, owner, reason=reason, detail=detail, now=self._clock.now())


def _reason_and_detail(failure: Exception) -> tuple[str, str]:
    """The reason and the detail of a dead letter."""
    if isinstance(failure, UndecodableError | EventRejectedError):
        return failure.reason, str(failure)
    if isinstance(failure, HandlerFailedError):
        return "handler_failed", failure.detail
    if isinstance(failure, UnknownTypeError):
        return "handler_failed", f"no handler takes {failure.type} any more"
    if isinstance(failure, HandlerGoneError):
        return "handler_failed", str(failure)
    return "handler_failed", f"the transaction: {type(failure).__name__}"  # its message may quote what was written
