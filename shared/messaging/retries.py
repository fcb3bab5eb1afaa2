"""Later tries of records that were set aside: parked ones, and dead letters that a person replays (ADR 0003).

Each is tried alone, in a transaction of its own that begins by locking it: workers share the work, and none waits for a
record that fails.
"""

from typing import Any

from shared.clock import Clock
from shared.events.envelope import UndecodableError, UnknownTypeError
from shared.messaging import dead_letters, inbox
from shared.messaging.consumer import PATIENCE, Consumer
from shared.messaging.dead_letters import Aside, Place
from shared.messaging.dispatch import HandlerFailedError, apply
from shared.messaging.handler import Handler, Received, Refused
from shared.postgres.failures import is_outage
from shared.postgres.migrate import as_newer_schema
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction


class RefusedError(Exception):
    """A handler refused the event when it was tried again."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.detail)
        self.reason = refused.reason


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
        while tried < limit and await self._one():
            tried += 1
        return tried

    async def _one(self) -> bool:
        tried: Aside | None = None
        try:
            async with transaction(self._pool) as conn:
                tried = await dead_letters.claim(conn, self._consumer.service, self._clock.now())
                if tried is not None:
                    await self._try(conn, tried)
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
            if await dead_letters.claim(conn, self._consumer.service, self._clock.now(), only=tried.id):
                if was_slow and tried.attempts < PATIENCE:
                    await dead_letters.wait_longer(conn, tried, "it took too long", self._clock.now())
                else:
                    await self._give_up(conn, tried, *_fault_of(failure))
        return True

    async def _try(self, conn: Connection, aside: Aside) -> None:
        event = self._consumer.handlers.decode(aside.record)
        if aside.handler is None:
            await self._with_all_handlers(conn, aside, event)
        elif handler := self._consumer.handlers.by_name.get(aside.handler):
            await self._with_its_handler(conn, aside, handler, event)
        else:
            raise HandlerGoneError(f"no handler is called {aside.handler} any more")

    async def _with_its_handler(self, conn: Connection, aside: Aside, handler: Handler, event: Received[Any]) -> None:
        waits_for = await self._apply(conn, handler, event)
        now = self._clock.now()
        if waits_for is None:
            await dead_letters.settle(conn, [aside.id])
        elif aside.expires_at is not None and aside.expires_at <= now:
            await self._give_up(conn, aside, "parent_never_came", waits_for)
        else:
            await dead_letters.wait_longer(conn, aside, waits_for, now)

    async def _with_all_handlers(self, conn: Connection, aside: Aside, event: Received[Any]) -> None:
        """For a record that no single handler was blamed for; from here on it waits for each of them alone."""
        for handler in self._consumer.handlers.by_type[event.type]:
            admitted = await inbox.admit(conn, handler, [event], however_old=True)
            if admitted.refused:
                raise RefusedError(admitted.refused[0])
            if not admitted.fresh:
                continue  # it has had it
            waits_for = await self._apply(conn, handler, event)
            if waits_for is not None:
                await inbox.mark(conn, handler.name, [event.id], "parked")
                await dead_letters.park(
                    conn, aside.record, Place(self._consumer.service, self._consumer.epoch, handler.name, event.id),
                    waiting_for=waits_for, now=self._clock.now(), timeout=self._consumer.park_timeout,
                )  # fmt: skip
        await dead_letters.settle(conn, [aside.id])

    async def _apply(self, conn: Connection, handler: Handler, event: Received[Any]) -> str | None:
        """What it still has to wait for; None when it is handled."""
        if await inbox.is_overtaken(conn, handler, event):
            await inbox.mark(conn, handler.name, [event.id], "superseded")
            return None
        for answer in await apply(conn, handler, [event], self._clock.now()):
            if isinstance(answer, Refused):
                raise RefusedError(answer)
            return answer.waiting_for
        await inbox.mark(conn, handler.name, [event.id], "applied")
        return None

    async def _give_up(self, conn: Connection, aside: Aside, reason: str, detail: str) -> None:
        if aside.handler and aside.event_id:
            await inbox.mark(conn, aside.handler, [aside.event_id], "dead")
        place = Place(self._consumer.service, self._consumer.epoch, aside.handler, aside.event_id)
        await dead_letters.give_up(conn, aside, place, reason=reason, detail=detail, now=self._clock.now())


def _fault_of(failure: Exception) -> tuple[str, str]:
    """The reason and the detail of a dead letter."""
    if isinstance(failure, UndecodableError | RefusedError):
        return failure.reason, str(failure)
    if isinstance(failure, HandlerFailedError):
        return "handler_failed", failure.detail
    if isinstance(failure, UnknownTypeError):
        return "handler_failed", f"no handler takes {failure.type} any more"
    if isinstance(failure, HandlerGoneError):
        return "handler_failed", str(failure)
    return "handler_failed", f"the transaction: {type(failure).__name__}"  # its message may quote what was written
