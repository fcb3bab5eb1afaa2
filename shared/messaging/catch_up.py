"""Handlers that were added later are given what lies behind, from Kafka, beside the live events (ADR 0009).

By a reader of its own, which takes no part in the group: only one worker of a service does it at a time, and each batch
leaves its progress in the transaction of its effects, so that the next worker continues where a killed one was.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.clock import Clock
from shared.messaging import history, inbox
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler, Received, Record
from shared.messaging.history import Range
from shared.messaging.tolerant_fetch import read_all
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from shared.settings import Settings

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
_LOCK = 0x6D65646C65640009  # of the database, and so of one service
_FETCH_MILLISECONDS = 500
_FETCH_BYTES = 2_000_000
_ROWS = 200  # at a time: for as long as these are unpacked, nothing else in the process moves
_LONGEST_PAUSE_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 10.0  # for what was added to be caught up meanwhile, or is no longer ours


class CatchUpConsumer(Consumer):
    """Handles what lies behind: records of these ranges, each for the handlers that lack it."""

    def __init__(self, live: Consumer, pool: Pool, clock: Clock, ranges: Sequence[Range]) -> None:
        lacking = {(each.handler, each.type) for each in ranges}
        handlers = [
            replace(handler, events=events)
            for handler in live.handlers.all
            if (events := tuple(kind for kind in handler.events if (handler.name, kind.type) in lacking))
        ]
        super().__init__(
            pool, clock, service=live.service, handlers=handlers, park_timeout=live.park_timeout,
            batch_size=live.batch_size, migrations=live.migrations,
        )  # fmt: skip
        self.epoch = live.epoch
        self.handlers.begins = live.handlers.begins
        self._ranges: Mapping[TopicPartition, list[Range]] = defaultdict(list)
        for each in ranges:
            self._ranges[TopicPartition(each.topic, each.partition)].append(each)

    @property
    def starts(self) -> dict[TopicPartition, int]:
        """From where each partition is to be read."""
        return {place: min(each.next_offset for each in ranges) for place, ranges in self._ranges.items()}

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """Up to where each partition is to be read."""
        return {place: max(each.until_offset for each in ranges) for place, ranges in self._ranges.items()}

    async def complete(self, places: Collection[TopicPartition]) -> None:
        """Nothing more is coming in these partitions: what lay at the end may be gone."""
        async with transaction(self._pool) as conn:
            await history.advance_ranges(
                conn, self.service, self.epoch,
                [(each, each.until_offset) for place in places for each in self._ranges[place]],
            )  # fmt: skip

    def _handlers_for(self, record: Record, received: Received[Any]) -> Sequence[Handler]:
        lacking = {
            each.handler
            for each in self._ranges[TopicPartition(record.topic, record.partition)]
            if each.type == received.type and each.next_offset <= record.offset < each.until_offset
        }
        return [each for each in super()._handlers_for(record, received) if each.name in lacking]

    async def _admit(self, conn: Connection, handler: Handler, events: Sequence[Received[Any]]) -> inbox.Admitted:
        again = {
            (each.type, each.topic, each.partition)
            for ranges in self._ranges.values()
            for each in ranges
            if each.again and each.handler == handler.name
        }
        if any((event.type, event.topic, event.partition) in again for event in events):
            return await inbox.admit_again(conn, handler, events)
        return await inbox.admit(conn, handler, events, however_old=True)

    def _can_wait(self, _: object) -> bool:
        return False  # it ends when its progress says so

    async def _save_progress(self, conn: Connection, records: Sequence[Record], _: Counter[str]) -> None:
        furthest = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
        done = [(each, offset) for place, offset in furthest.items() for each in self._ranges[place]]
        await history.advance_ranges(conn, self.service, self.epoch, done)


class CatchUp:
    """Works off what `history` has noted for a service's handlers, for as long as `run` runs."""

    def __init__(self, settings: Settings, pool: Pool, clock: Clock, live: Consumer) -> None:
        self._settings = settings
        self._pool = pool
        self._clock = clock
        self._live = live

    async def run(self) -> None:
        """Look for something to do, again and again."""
        while True:
            try:
                async with self._exclusively() as conn:
                    while conn and await self._catch_up(conn):
                        pass
            except (*UNAVAILABLE, KafkaError) as error:
                log.warning("catching up interrupted", error=type(error).__name__, detail=str(error)[:200])
            await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def _exclusively(self) -> AsyncIterator[Connection | None]:
        """A connection while there is something to do, and nobody else does it."""
        async with self._pool.acquire() as conn:
            if not await self._pending_ranges(conn) or not await conn.fetchval(
                "select pg_try_advisory_lock($1)", _LOCK
            ):
                yield None
                return
            try:
                yield conn
            finally:
                if not conn.is_closed():
                    await conn.execute("select pg_advisory_unlock($1)", _LOCK)

    async def lags(self, conn: Connection) -> dict[str, int]:
        """By handler, of those that lack something: how many records that is, at most."""
        it = self._live
        return {
            each.handler: each.records
            for each in await history.handler_lags(conn, it.service, it.epoch, it.handlers.all)
        }

    async def lags_or_none(self) -> dict[str, int] | None:
        """The same, and None while the database does not answer."""
        with suppress(*UNAVAILABLE):
            async with asyncio.timeout(2), self._pool.acquire() as conn:
                return await self.lags(conn)
        return None

    async def _pending_ranges(self, conn: Connection) -> list[Range]:
        if self._live.epoch == UUID(int=0):
            return []  # nobody knows yet which life of the broker this is
        return await history.pending_ranges(conn, self._live.service, self._live.epoch, self._live.handlers.pairs)

    async def _catch_up(self, conn: Connection) -> bool:
        """For a while, or until it is done; whether there is more to do."""
        ranges = await self._pending_ranges(conn)
        if not ranges:
            return False
        past = CatchUpConsumer(self._live, self._pool, self._clock, ranges)
        handlers = sorted({each.handler for each in ranges})
        log.info("catching up", handlers=handlers, records=sum(each.until_offset - each.next_offset for each in ranges))
        client = AIOKafkaConsumer(
            **self._settings.kafka_client(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", fetch_max_bytes=_FETCH_BYTES,
            max_poll_records=min(_ROWS, self._live.batch_size),
        )  # fmt: skip
        try:
            await client.start()
            await self._read(client, past)
        finally:
            await client.stop()
        if not await self._pending_ranges(conn):
            log.info("caught up", handlers=handlers)
            return False
        return True

    async def _read(self, client: AIOKafkaConsumer, past: CatchUpConsumer) -> None:
        ends, until = past.ends, time.monotonic() + _LOOK_AGAIN_SECONDS
        client.assign(list(ends))
        for place, offset in past.starts.items():
            client.seek(place, offset)
        while ends and time.monotonic() < until and past.epoch == self._live.epoch:
            records = await read_all(client, list(ends), timeout_ms=_FETCH_MILLISECONDS)
            wanted = [each for each in records if each.offset < ends[TopicPartition(each.topic, each.partition)]]
            begun = time.monotonic()
            if wanted:
                await past.handle(wanted)
            if over := [place for place, end in ends.items() if await client.position(place) >= end]:
                await past.complete(over)
                ends = {place: end for place, end in ends.items() if place not in over}
            # As long as it took, since live events come first; but not as long as it may have waited for the database.
            await asyncio.sleep(min(time.monotonic() - begun, _LONGEST_PAUSE_SECONDS))
