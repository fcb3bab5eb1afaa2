"""The wire between Kafka and a service's `Consumer`: a FastStream batch subscriber, kept alive.

FastStream fetches and keeps the group membership; it is told to acknowledge nothing. What it cannot see for itself is
watched here: a broker that came back empty, and a subscriber that is alive but stuck.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared import epoch as epochs
from shared.consumer import Consumer
from shared.db import UNAVAILABLE, Pool, transaction
from shared.set_aside import Record
from shared.settings import Settings

log = structlog.get_logger(__name__)

FETCH_MILLISECONDS = 20
STALL_SECONDS = 30.0


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types for it
    """Feeds `consumer` with batches from its topics for as long as `run` runs."""

    def __init__(self, settings: Settings, pool: Pool, consumer: Consumer) -> None:
        self._settings = settings
        self._pool = pool
        self._consumer = consumer
        self._watcher = epochs.EpochWatcher(settings)
        self._client: AIOKafkaConsumer | None = None
        self._idle = asyncio.Lock()  # held while a batch is handled
        self._rewind = False
        self._progress = time.monotonic()
        self.ready = False

    async def run(self) -> None:
        """Subscribe, and subscribe anew after whatever goes wrong."""
        while True:
            try:
                await self._adopt_epoch()
                await self._subscribe_until_stuck()
            except (*UNAVAILABLE, KafkaError) as error:
                log.warning("consumer interrupted", error=type(error).__name__, detail=str(error)[:200])
            finally:
                self.ready = False
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

    async def _adopt_epoch(self) -> None:
        """Find out which life of the broker this is; in a new one, forget the old offsets and begin anew."""
        current = await self._watcher.current()
        if current == self._consumer.epoch:
            return
        async with transaction(self._pool) as conn:
            known = await epochs.remembered(conn, "consumer")
            if known != current:
                await conn.execute("delete from inbox_offsets where consumer = $1", self._consumer.service)
                await epochs.remember(conn, "consumer", current)
        self._rewind = known not in (None, current) or self._consumer.epoch.int != 0
        self._consumer.epoch = current
        if self._rewind:
            log.warning("the broker is new: reading it from its beginning")

    async def _subscribe_until_stuck(self) -> None:
        broker = KafkaBroker(
            self._settings.kafka_bootstrap, allow_auto_create_topics=False, apply_types=False, logger=None,
            security=_security(self._settings),
        )  # fmt: skip
        subscriber = broker.subscriber(
            *self._consumer.topics, group_id=f"medled.{self._consumer.service}", batch=True,
            max_records=self._settings.batch_size, batch_timeout_ms=FETCH_MILLISECONDS,
            auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, listener=self,
            session_timeout_ms=10_000, heartbeat_interval_ms=2_000, max_poll_interval_ms=300_000,
        )  # fmt: skip
        subscriber(self._on_batch, parser=_as_it_came, decoder=_untouched)
        try:
            await broker.start()
            self._client = subscriber.consumer
            self._progress = time.monotonic()
            while not await self._stuck():
                self.ready = bool(self._client and self._client.assignment())
                before = self._consumer.epoch
                await asyncio.sleep(epochs.CHECK_SECONDS)
                await self._adopt_epoch()
                if self._consumer.epoch != before:
                    return  # a fresh subscriber knows no offset of the old life
            log.warning("consumer is stuck: starting a new one")
        finally:
            self._client = None
            with suppress(KafkaError):
                await broker.stop()

    async def _on_batch(self, message: StreamMessage[Any]) -> None:
        records: Sequence[Record] = message.raw_message
        async with self._idle:
            held = self._client.assignment() if self._client else frozenset()
            mine = [record for record in records if TopicPartition(record.topic, record.partition) in held]
            if mine:
                await self._consumer.handle(mine)
                await self._commit(mine)
            self._progress = time.monotonic()

    async def _commit(self, records: Sequence[Record]) -> None:
        offsets: dict[TopicPartition, int] = defaultdict(int)
        for record in records:
            place = TopicPartition(record.topic, record.partition)
            offsets[place] = max(offsets[place], record.offset + 1)
        try:
            if self._client is not None:
                await self._client.commit(offsets)
        except KafkaError as error:  # a rebalance took them: whoever has them now finds the ids in the inbox
            log.info("offsets not committed", error=type(error).__name__)

    async def _stuck(self) -> bool:
        """Alive, with records waiting, and yet nothing handled for long (aiokafka #1154)."""
        if time.monotonic() - self._progress < STALL_SECONDS or self._idle.locked():
            return False
        try:
            async with asyncio.timeout(5):
                if not await self.lag():
                    self._progress = time.monotonic()
                    return False
        except (TimeoutError, KafkaError):
            return True
        return True

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the batch under way finish and commit before somebody else gets its partitions."""
        async with self._idle:
            log.info("partitions revoked", partitions=len(revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin at the committed offsets; in a new life of the broker, at the beginning."""
        log.info("partitions assigned", partitions=len(assigned))
        if self._rewind and self._client is not None and assigned:
            await self._client.seek_to_beginning(*assigned)
            self._rewind = False


async def _as_it_came(message: tuple[ConsumerRecord[bytes, bytes], ...]) -> StreamMessage[Any]:
    """The batch, not looked into: FastStream's own parser fails on null and non-UTF-8 headers and loses the record."""
    return StreamMessage(raw_message=message, body=b"")


async def _untouched(message: StreamMessage[Any]) -> StreamMessage[Any]:
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
