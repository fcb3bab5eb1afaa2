"""The wire between Kafka and a service's `Consumer`: a FastStream batch subscriber, kept alive.

FastStream fetches and keeps the group membership; it is told to acknowledge nothing. Where to begin is read from the
database, where each batch leaves its offsets in the transaction of its effects; what is committed to Kafka is for tools
that show lag. What FastStream cannot see for itself is watched here: a broker that came back empty, and a subscriber
that is alive but stuck.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared.messaging import epoch as epochs
from shared.messaging.consumer import BATCHES_PER_FETCH, Consumer
from shared.messaging.fetch_sessions import use_sessions
from shared.messaging.handler import Record
from shared.messaging.history import register_handlers, take_over_partitions
from shared.messaging.offsets import applied_offsets
from shared.messaging.tolerant_fetch import is_fault_of_a_record, read_tolerantly
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction
from shared.settings import Settings

log = structlog.get_logger(__name__)

FETCH_MILLISECONDS = 1000  # records are taken when they arrive; this only bounds an idle wait
FETCH_BYTES = 400  # less than any event of ours, more than the mark at a transaction's end, which nobody waits for
FETCH_MOST_BYTES = 8_000_000  # of one answer; of each partition aiokafka keeps no more than a megabyte waiting
COMMIT_SECONDS = 1.0
SESSION_MILLISECONDS = 10_000  # a killed worker's partitions are taken over after this
STALL_SECONDS = 30.0  # nothing handled for so long
STUCK_SECONDS = 10.0  # though records have waited for so long
START_SECONDS = 60.0


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types for it
    """Feeds `consumer` with batches from its topics for as long as `run` runs."""

    def __init__(self, settings: Settings, pool: Pool, consumer: Consumer) -> None:
        self._settings = settings
        self._pool = pool
        self._consumer = consumer
        self._watcher = epochs.EpochWatcher(settings)
        self._subscriber: Any = None
        self._idle = asyncio.Lock()  # held while a batch is handled
        self._uncommitted: dict[TopicPartition, int] = {}  # next offsets that Kafka has not been told yet
        self._failed = asyncio.Event()  # this subscriber may have lost its place: take nothing more from it
        self._progress = time.monotonic()
        self._behind_since: float | None = None  # records wait and nothing moves
        self._settled = False  # a member of the group, since its last rebalance ended
        self._tolerant = False  # the subscriber before this one met a record that cannot be read: find it

    @property
    def ready(self) -> bool:
        """Whether records reach this process, or would: with more workers than partitions some hold none, and wait."""
        client = self._client
        return self._settled and client is not None and all(map(client.partitions_for_topic, self._consumer.topics))

    async def run(self) -> None:
        """Subscribe, and subscribe anew after whatever goes wrong."""
        if not self._consumer.topics:
            await asyncio.Event().wait()  # a service that only publishes
        while True:
            try:
                await self._register()
                await self._adopt_epoch()
                await self._subscribe_until_stuck()
            except (*UNAVAILABLE, KafkaError) as error:
                log.warning("consumer interrupted", error=type(error).__name__, detail=str(error)[:200])
            finally:
                await self._watcher.close()
            await asyncio.sleep(1)

    async def lag(self) -> int | None:
        """Records between here and the end of the partitions held; None while none are held."""
        client = self._client
        if client is None or not client.assignment():
            return None
        ends = await client.end_offsets(list(client.assignment()))
        behind: list[int] = [max(0, end - await client.position(place)) for place, end in ends.items()]
        return sum(behind)

    async def lag_or_none(self) -> int | None:
        """The same, and None too while the broker does not answer."""
        with suppress(Exception):  # told to whoever watches; that the broker is away is told beside it
            async with asyncio.timeout(2):
                return await self.lag()
        return None

    @property
    def _client(self) -> AIOKafkaConsumer | None:
        # Not remembered beside it: partitions are assigned before FastStream's `start` returns.
        return self._subscriber.consumer if self._subscriber is not None else None

    async def _register(self) -> None:
        """Make our handlers known before the first of them is given anything."""
        it = self._consumer
        async with transaction(self._pool) as conn:
            it.handlers.begins = await register_handlers(conn, it.service, it.generation, it.handlers.all)

    async def _adopt_epoch(self) -> None:
        """Find out which life of the broker this is. Offsets belong to a life; in a new one all is read again."""
        current = await self._watcher.current()
        if current == self._consumer.epoch:
            return
        async with self._idle:
            await self._consumer.save_progress()  # in the life in which it was made
            async with transaction(self._pool) as conn:
                known = await epochs.load_epoch(conn, "consumer")
                if known != current:
                    await epochs.save_epoch(conn, "consumer", current)
            self._consumer.epoch = current
        if known not in (None, current):
            log.warning("the broker is new: reading it from its beginning")

    async def _subscribe_until_stuck(self) -> None:
        broker = KafkaBroker(
            self._settings.kafka_bootstrap, allow_auto_create_topics=False, apply_types=False, logger=None,
            security=_security(self._settings),
        )  # fmt: skip
        subscriber = broker.subscriber(
            *self._consumer.topics, group_id=f"medled.{self._consumer.service}", batch=True,
            max_records=self._settings.batch_size * BATCHES_PER_FETCH, fetch_min_bytes=FETCH_BYTES,
            fetch_max_bytes=FETCH_MOST_BYTES, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, listener=self,
            session_timeout_ms=SESSION_MILLISECONDS, heartbeat_interval_ms=SESSION_MILLISECONDS // 5,
            max_poll_interval_ms=300_000,
        )  # fmt: skip
        subscriber(self._on_batch, parser=_raw_message, decoder=_raw_body)
        subscriber.get_msg = self._fetch  # type: ignore[assignment,method-assign]
        self._failed.clear()
        self._uncommitted.clear()
        self._settled = False
        self._subscriber = subscriber
        committing = asyncio.create_task(self._keep_committing())
        try:
            async with asyncio.timeout(START_SECONDS):
                await broker.start()
            self._progress = time.monotonic()
            while not await self._stuck():
                with suppress(TimeoutError):
                    async with asyncio.timeout(epochs.CHECK_SECONDS):
                        await self._failed.wait()
                        return
                if await self._watcher.current() != self._consumer.epoch:
                    return  # adopted only once this subscriber, which knows the old life's offsets, has ended
            log.warning("consumer is stuck: starting a new one")
        finally:
            self._failed.set()
            committing.cancel()
            await asyncio.wait([committing])
            await self._commit()
            if not self._idle.locked():  # else a batch is under way, which may wait for the database for long
                with suppress(TimeoutError):
                    async with asyncio.timeout(COMMIT_SECONDS):
                        await self._save_progress()
            self._consumer.forget_progress()
            self._subscriber = None
            with suppress(KafkaError):
                await broker.stop()

    async def _fetch(self, client: AIOKafkaConsumer) -> tuple[Record, ...]:
        """Instead of FastStream's, which after an empty fetch sleeps as long again, whatever arrives meanwhile."""
        most = self._settings.batch_size * BATCHES_PER_FETCH
        use_sessions(client)
        try:
            if self._tolerant:
                taken, self._tolerant = await read_tolerantly(client, sorted(client.assignment()), most)
                return tuple(taken)
            fetched = await client.getmany(timeout_ms=FETCH_MILLISECONDS, max_records=most)
        except Exception as error:
            # It may have forgotten what it took from other partitions. FastStream would only call it again.
            self._tolerant = self._tolerant or is_fault_of_a_record(error)
            self._failed.set()
            log.warning("reading failed: subscribing anew", error=type(error).__name__, one_by_one=self._tolerant)
            raise
        return tuple(chain.from_iterable(fetched.values()))

    async def _on_batch(self, message: StreamMessage[Any]) -> None:
        # FastStream has the message hold itself, and puts it into the context, which is kept as long as any connection
        # or timer that was begun in it. Without this every worker kept megabytes of records that were long handled.
        records: Sequence[Record]
        records, message.raw_message = message.raw_message, ()
        async with self._idle:
            if self._failed.is_set():
                return
            try:
                mine = await self._still_assigned(records)
                if not mine:
                    return
                await self._consumer.handle(mine)
            except BaseException as error:
                # FastStream would swallow it and go on with the next batch, and this one would be lost.
                self._failed.set()
                if isinstance(error, Exception):
                    log.exception("batch failed: subscribing anew from its beginning")
                raise
            for record in mine:  # in log order: the last one stays
                self._uncommitted[TopicPartition(record.topic, record.partition)] = record.offset + 1
            self._progress = time.monotonic()

    async def _still_assigned(self, records: Sequence[Record]) -> list[Record]:
        """Without partitions that were taken away, or set to another offset, after this batch was fetched.

        The latter happens at an assignment: aiokafka may fetch from Kafka's committed offset before we have said where
        the database stands. Handling that batch would record offsets past what a restored database has yet to see.
        """
        client, lasts = self._client, {}
        for record in records:
            lasts[TopicPartition(record.topic, record.partition)] = record.offset
        held = client.assignment() if client else frozenset()
        current = set()
        for place, last in lasts.items():
            if client is not None and place in held and await client.position(place) > last:
                current.add(place)
        return [record for record in records if TopicPartition(record.topic, record.partition) in current]

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()
            async with self._idle:
                await self._save_progress()

    async def _save_progress(self) -> None:
        try:
            await self._consumer.save_progress()
        except UNAVAILABLE as error:
            log.info("offsets not saved", error=type(error).__name__)
        except asyncpg.PostgresError as error:  # on a schema newer than ours they wait, too
            log.warning("offsets not saved", error=type(error).__name__)

    async def _commit(self) -> None:
        """Tell Kafka how far we are, beside the work: only tools that show lag read it."""
        client = self._client
        held = client.assignment() if client is not None else frozenset()
        offsets = {place: offset for place, offset in self._uncommitted.items() if place in held}
        self._uncommitted = {}
        if client is None or not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await client.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets not committed", error=type(error).__name__)
            self._uncommitted = offsets | self._uncommitted

    async def _stuck(self) -> bool:
        """Alive, with records waiting, and yet nothing handled for long (aiokafka #1154).

        After an idle while, records that wait may have come this very moment: they must have waited for a while too.
        """
        now = time.monotonic()
        if now - self._progress < STALL_SECONDS or self._idle.locked():
            self._behind_since = None
            return False
        try:
            async with asyncio.timeout(5):
                is_behind = bool(await self.lag())
        except (TimeoutError, KafkaError):
            return True
        if not is_behind:
            self._progress, self._behind_since = now, None
            return False
        self._behind_since = self._behind_since or now
        return now - self._behind_since >= STUCK_SECONDS

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the batch under way finish and commit before somebody else gets its partitions."""
        self._settled = False
        async with self._idle:
            log.info("partitions revoked", partitions=len(revoked))
            await self._save_progress()
            self._consumer.forget_progress()
            await self._commit()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin where the database says that this life of the broker was handled to."""
        log.info("partitions assigned", partitions=len(assigned))
        async with self._idle:
            try:
                async with transaction(self._pool) as conn:
                    it = self._consumer
                    places = [(place.topic, place.partition) for place in assigned]
                    lacking = await take_over_partitions(
                        conn, it.service, it.generation, it.epoch, it.handlers.pairs, places
                    )
                    handled = await applied_offsets(conn, it.service, it.epoch)
            except BaseException:
                self._failed.set()  # aiokafka would go on from elsewhere
                raise
            if lacking:
                log.info("handlers lack what was handled without them: it will be caught up", ranges=lacking)
            if self._client is not None:
                for place in assigned:
                    self._client.seek(place, handled.get((place.topic, place.partition), 0))
        self._settled = True


async def _raw_message(message: tuple[ConsumerRecord[bytes, bytes], ...]) -> StreamMessage[Any]:
    """The batch, not looked into: FastStream's own parser fails on null and non-UTF-8 headers and loses the record."""
    return StreamMessage(raw_message=message, body=b"")


async def _raw_body(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message


def _security(settings: Settings) -> BaseSecurity:
    """What `Settings.kafka_client` says, in FastStream's words."""
    client = settings.kafka_client()
    context = client.get("ssl_context")
    encrypted = "SSL" in settings.kafka_security_protocol
    if "sasl_mechanism" not in client:
        return BaseSecurity(ssl_context=context, use_ssl=encrypted)
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[client["sasl_mechanism"]](
        client["sasl_plain_username"] or "", client["sasl_plain_password"] or "", ssl_context=context, use_ssl=encrypted
    )
