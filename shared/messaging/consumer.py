"""From Kafka to a service's handlers, exactly once in effect (ADR 0003).

One batch is one database transaction: inbox ids, effects, offsets, new events. Whatever delivers a record again (a
republishing relay, a broker filled anew, a rebalance while a batch is under way) finds its id in the inbox.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import zip_longest
from typing import Any
from uuid import UUID

import structlog

from shared.clock import Clock
from shared.events.envelope import UndecodableError, UnknownTypeError
from shared.messaging import dead_letters, inbox
from shared.messaging.dead_letters import Owner
from shared.messaging.dispatch import WHOLE_RECORD, HandlerFailedError, Handlers, apply
from shared.messaging.handler import Handler, Parked, Received, Record, Rejected, Unapplied
from shared.messaging.offsets import remember_offsets
from shared.observability.tracing import batch_span
from shared.postgres.failures import UNAVAILABLE, is_outage, is_unavailable
from shared.postgres.migrate import as_newer_schema
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.service import Migrations

log = structlog.get_logger(__name__)

BATCHES_PER_FETCH = (
    4  # transactions' worth of records to hand over at a time: one is decoded while the one before it commits
)
BATCH_BYTES = 2_000_000  # of keys and values in one transaction; decoded, two of them are in memory several times over
_YIELD_EVERY = 10  # records decoded at a stretch, so that the database never waits long for its next statement
MAX_TIMEOUTS = 3  # times that a batch's statements may time out although the database answers
MAX_ATTEMPTS = 3  # of a record that fails by itself, before it becomes a dead letter


@dataclass(slots=True)
class _Batch:
    """What a batch of records holds for this service."""

    events: dict[str, list[Received[Any]]] = field(default_factory=lambda: defaultdict(list))  # by handler
    records: list[Record] = field(default_factory=list)  # those that hold the events
    undecodable: list[tuple[Record, str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def record_of(self, event: Received[Any]) -> Record:
        """What an event came in; looked for, since hardly any is ever asked for."""
        place = event.topic, event.partition, event.offset
        return next(each for each in self.records if (each.topic, each.partition, each.offset) == place)


@dataclass(slots=True)
class _Progress:
    """Past what nobody here takes: the last record of each partition, and how many of each type."""

    lasts: dict[tuple[str, int], Record] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, records: Sequence[Record], skipped: Counter[str]) -> None:
        """These too, which come after those before them."""
        self.lasts |= {(record.topic, record.partition): record for record in records}
        self.skipped += skipped


class Consumer:
    """Handles batches of records for one service. Knows nothing of how they are fetched.

    A batch that holds nothing for any handler needs no transaction: its offsets are saved with the next one's, or by
    `save_progress`, which whoever fetches calls about once a second. Until then it would only be read again.
    """

    def __init__(
        self, pool: Pool, clock: Clock, *, service: str, handlers: Sequence[Handler], park_timeout: timedelta,
        batch_size: int = 1000, migrations: Sequence[Migrations] = (),
    ) -> None:  # fmt: skip
        self.service = service
        self.handlers = Handlers(service, handlers)
        self.topics = self.handlers.topics
        self.generation = self.handlers.generation
        self.park_timeout = park_timeout
        self.migrations = migrations  # what makes its database, to tell a newer schema from a fault of ours
        self.epoch = UUID(int=0)  # set by whoever fetches, before the first batch
        self.handled = 0
        self._timeouts = 0  # of the batch at hand, while the database answered others
        self._committed: set[tuple[str, int, int]] = set()  # what of it is, when it is halved
        self._unsaved = _Progress()
        self._pool = pool
        self._clock = clock
        self.batch_size = batch_size

    async def handle(self, records: Sequence[Record]) -> None:
        """Handle these records, which are in log order per partition, and return once that is committed.

        Waits as long as it takes while the database is away. A record that fails by itself is found by halving and
        becomes a dead letter after a few attempts, alone.
        """
        with batch_span(f"{self.service} process", records):
            parts = _in_batches(records, self.batch_size)
            batch = await self._decode_ahead(parts[0]) if parts else None
            for part, following in zip_longest(parts, parts[1:], fillvalue=()):
                batch = await self._handle_while_decoding(part, batch, following)
        self.handled += len(records)

    async def save_progress(self) -> None:
        """Save what was passed over; not while a batch is handled. Raises when the database is away."""
        if not self._unsaved.lasts:
            return
        try:
            async with transaction(self._pool) as conn:
                await self._save_progress(conn, (), Counter())
        except Exception:
            raise
        except BaseException:  # cancelled, and nobody knows whether it was committed: saved twice it would count twice
            self.forget_progress()
            raise
        self.forget_progress()

    def forget_progress(self) -> None:
        """What is not saved is no longer ours to save: somebody else reads it again."""
        self._unsaved = _Progress()

    async def _handle_while_decoding(
        self, records: Sequence[Record], batch: _Batch | None, following: Sequence[Record]
    ) -> _Batch | None:
        """Commit one batch; the next one is decoded while the database works."""
        handling = asyncio.create_task(self._retry_while_unavailable(records, batch))
        try:
            ready = await self._decode_ahead(following)
            await handling
        finally:
            if not handling.done():
                handling.cancel()
                await asyncio.wait([handling])
        return ready

    async def _decode_ahead(self, records: Sequence[Record]) -> _Batch | None:
        """None when a record is at fault in a way nobody thought of: halving will find which."""
        try:
            return await self._decode(records)
        except Exception:
            log.exception("batch cannot be decoded: looking for the record at fault")
            return None

    async def _retry_while_unavailable(self, records: Sequence[Record], batch: _Batch | None) -> None:
        pause, self._timeouts, self._committed = 0.1, 0, set()
        while True:
            try:
                return await self._bisect(records, {}, batch)
            except UNAVAILABLE as error:
                if self._committed:  # by halves, before the outage: what they counted is counted
                    records = [record for record in records if _position(record) not in self._committed]
                    batch, self._committed = None, set()
                if not await is_outage(self._pool, error):
                    self._timeouts += 1
                log.warning("database unavailable, batch waits", error=type(error).__name__, detail=str(error)[:200])
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5)

    async def _outage(self, error: BaseException | None) -> BaseException | None:
        """The error, when it is to be waited for. A statement that keeps timing out is some record's fault instead."""
        if self._timeouts >= MAX_TIMEOUTS and not await is_outage(self._pool, error):
            return None
        if newer := await as_newer_schema(self._pool, self.migrations, error):
            return newer
        return error if is_unavailable(error) else None

    async def _bisect(
        self, records: Sequence[Record], given_up: Mapping[str, str], batch: _Batch | None = None
    ) -> None:
        try:
            await self._in_one_transaction(records, given_up, batch)
        except HandlerFailedError as failure:
            if outage := await self._outage(failure.__cause__):
                raise outage from None
            if len(records) > 1:
                middle = len(records) // 2
                await self._bisect(records[:middle], given_up)
                await self._bisect(records[middle:], given_up)
            else:
                await self._retry_alone(records[0], failure, given_up)

    async def _retry_alone(self, record: Record, failure: HandlerFailedError, given_up: Mapping[str, str]) -> None:
        for attempt in range(2, MAX_ATTEMPTS + 1):
            await asyncio.sleep(0.05 * attempt)
            try:
                await self._in_one_transaction([record], given_up)
            except HandlerFailedError as again:
                failure = again
                if outage := await self._outage(failure.__cause__):
                    raise outage from None
            else:
                return
        log.error("dead letter", handler=failure.handler, topic=record.topic, offset=record.offset,
                  error=type(failure.__cause__).__name__)  # fmt: skip
        await self._bisect([record], {**given_up, failure.handler: failure.detail})

    async def _in_one_transaction(
        self, records: Sequence[Record], given_up: Mapping[str, str], batch: _Batch | None = None
    ) -> None:
        try:
            if WHOLE_RECORD in given_up:
                await self._dead_letter_records(records, given_up[WHOLE_RECORD])
            else:
                await self._handle_all(records, given_up, batch or await self._decode(records))
        except HandlerFailedError:
            raise
        except Exception as error:
            if outage := await self._outage(error):
                raise outage from None
            raise HandlerFailedError(WHOLE_RECORD) from error
        self._committed.update(map(_position, records))

    async def _handle_all(self, records: Sequence[Record], given_up: Mapping[str, str], batch: _Batch) -> None:
        if self._can_wait(batch):
            self._unsaved.add(records, batch.skipped)
            return
        async with transaction(self._pool) as conn:
            now = self._clock.now()
            for record, reason, detail in batch.undecodable:
                owner = Owner(self.service, self.epoch)
                await dead_letters.dead_letter(conn, record, owner, reason=reason, detail=detail, attempts=1, now=now)
            for name, events in batch.events.items():
                handler = self.handlers.by_name[name]
                admitted = await self._admit(conn, handler, events)
                answers: Sequence[Unapplied] = admitted.rejected
                if admitted.fresh and name in given_up:
                    await self._dead_letter_events(conn, handler, admitted.fresh, batch, given_up[name])
                elif admitted.fresh:
                    answers = [*answers, *await apply(conn, handler, admitted.fresh, self._clock.now())]
                if answers:
                    await self._set_aside_events(conn, handler, answers, batch)
            await self._save_progress(conn, records, batch.skipped)
        self._unsaved = _Progress()
        _log_dead_letters(batch.undecodable)

    async def _dead_letter_records(self, records: Sequence[Record], cause: str) -> None:
        """Set records aside as they came, for no handler in particular, and without another look at what they hold."""
        async with transaction(self._pool) as conn:
            for record in records:
                owner, now = Owner(self.service, self.epoch), self._clock.now()
                await dead_letters.dead_letter(
                    conn, record, owner, reason="handler_failed", detail=cause, attempts=1, now=now
                )
            await self._save_progress(conn, records, Counter())
        self._unsaved = _Progress()

    async def _admit(self, conn: Connection, handler: Handler, events: Sequence[Received[Any]]) -> inbox.Admitted:
        return await inbox.admit(conn, handler, events)

    def _handlers_for(self, record: Record, received: Received[Any]) -> Sequence[Handler]:
        return self.handlers.handlers_for(received.type, record.timestamp)

    def _can_wait(self, batch: _Batch) -> bool:
        return not (batch.events or batch.undecodable)

    async def _save_progress(self, conn: Connection, records: Sequence[Record], skipped: Counter[str]) -> None:
        await _count_skipped(conn, self.service, self._unsaved.skipped + skipped)
        read = [*self._unsaved.lasts.values(), *records]
        await remember_offsets(conn, self.service, self.generation, self.epoch, read)

    async def _decode(self, records: Sequence[Record]) -> _Batch:
        batch = _Batch()
        for nth, record in enumerate(records, 1):
            if nth % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
            try:
                received = self.handlers.decode(record)
            except (UnknownTypeError, UndecodableError) as fault:
                if isinstance(fault, UnknownTypeError):
                    batch.skipped[fault.type] += 1
                else:
                    batch.undecodable.append((record, fault.reason, str(fault)))
                continue
            batch.records.append(record)
            for handler in self._handlers_for(record, received):
                batch.events[handler.name].append(received)
        return batch

    async def _set_aside_events(
        self, conn: Connection, handler: Handler, answers: Sequence[Unapplied], batch: _Batch
    ) -> None:
        """Park what has to wait, and dead-letter what was rejected."""
        now = self._clock.now()
        events = {event.id: event for event in batch.events[handler.name]}
        for kind, outcome in ((Parked, "parked"), (Rejected, "dead")):
            ids = [answer.event_id for answer in answers if isinstance(answer, kind)]
            if ids:
                await inbox.mark(conn, handler.name, ids, outcome)
        for answer in answers:
            record = batch.record_of(events[answer.event_id])
            owner = Owner(self.service, self.epoch, handler.name, answer.event_id)
            if isinstance(answer, Parked):
                await dead_letters.park(
                    conn, record, owner, waiting_for=answer.waiting_for, now=now, timeout=self.park_timeout
                )
            else:
                await dead_letters.dead_letter(
                    conn, record, owner, reason=answer.reason, detail=answer.detail, attempts=1, now=now
                )
                log.error("dead letter", handler=handler.name, topic=record.topic, offset=record.offset,
                          reason=answer.reason)  # fmt: skip

    async def _dead_letter_events(
        self, conn: Connection, handler: Handler, events: Sequence[Received[Any]], batch: _Batch, cause: str
    ) -> None:
        await inbox.mark(conn, handler.name, [event.id for event in events], "dead")
        for event in events:
            await dead_letters.dead_letter(
                conn, batch.record_of(event),
                Owner(self.service, self.epoch, handler.name, event.id),
                reason="handler_failed", detail=cause, attempts=MAX_ATTEMPTS, now=self._clock.now(),
            )  # fmt: skip


def _in_batches(records: Sequence[Record], rows: int) -> list[Sequence[Record]]:
    """The records as transactions' worths: at most `rows` and BATCH_BYTES each. A larger one is alone.

    Headers do not count: those of an event of ours are short, and nothing is made of any other's.
    """
    batches: list[Sequence[Record]] = []
    start = size = 0
    for nth, record in enumerate(records):
        own = len(record.value or b"") + len(record.key or b"")
        if nth > start and (nth - start == rows or size + own > BATCH_BYTES):
            batches.append(records[start:nth])
            start, size = nth, 0
        size += own
    return [*batches, records[start:]] if records else []


def _log_dead_letters(undecodable: Sequence[tuple[Record, str, str]]) -> None:
    """One line for each reason and topic, however many records: whoever floods a topic must not flood the log too."""
    counted = Counter((record.topic, reason) for record, reason, _ in undecodable)
    for (topic, reason), records in counted.items():
        log.error("dead letters", topic=topic, reason=reason, records=records)


async def _count_skipped(conn: Connection, consumer: str, skipped: Counter[str]) -> None:
    if skipped:
        await conn.execute(
            """
            insert into inbox_skipped as s (consumer, type, records)
            select $1, type, records from unnest($2::text[], $3::bigint[]) as t(type, records) order by type
            on conflict (consumer, type) do update set records = s.records + excluded.records
            """,
            consumer, list(skipped), list(skipped.values()),
        )  # fmt: skip


def _position(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset
