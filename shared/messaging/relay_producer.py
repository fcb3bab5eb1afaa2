"""The producer of one relay: what its predecessor still has in hand never lands behind what this one sends (ADR 0011).

Every record carries the producer id of the relay's transactional id and an epoch that only grows. A partition refuses
an epoch below the highest it has seen, so before a topic is first written to, this one's epoch is put into all its
partitions by a transaction without records. What follows are plain idempotent sends: no transaction, no marker.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerClosed
from aiokafka.protocol.produce import ProduceRequest

from shared.messaging.record_batches import Burst, transmit
from shared.settings import Settings

DELIVERY_SECONDS = 10.0
# A partition forgets an epoch a day (producer.id.expiration.ms) after the time of the last record or marker with it,
# Kafka a transactional id after a week (transactional.id.expiration.ms). Both are renewed long before.
RENEW_SECONDS = 3600.0


class RelayProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka declares no types
    """An idempotent producer behind a fence; starting one fences every earlier one of the same service.

    `still_leads` is awaited before each request and raises a KafkaError that is not retriable once somebody else may
    lead: it stops a relay that thaws after the broker has forgotten what it was to refuse, and is all there is without
    `kafka_transactions`.
    """

    def __init__(self, settings: Settings, *, service: str, still_leads: Callable[[], Awaitable[None]]) -> None:
        options: dict[str, Any] = {
            **settings.kafka_client(), "acks": "all", "request_timeout_ms": int(DELIVERY_SECONDS * 1000),
        }  # fmt: skip
        super().__init__(
            **options, enable_idempotence=settings.kafka_transactions,
            max_batch_size=950_000, max_request_size=1_000_000,
        )  # fmt: skip
        self._still_leads = still_leads
        self._send_request = self.client.send
        self.client.send = self._send_while_leading
        self._fence: AIOKafkaProducer | None = None
        if settings.kafka_transactions:
            self._fence = AIOKafkaProducer(**options, transactional_id=f"medled-{service}-relay")
        self._fenced: set[TopicPartition] = set()
        self._renewed = time.monotonic()

    async def start(self) -> None:
        """Connect, and take the next epoch; raises KafkaError."""
        if self._fence is not None:
            await self._fence.start()
            given = self._fence._txn_manager
            self._txn_manager.set_pid_and_epoch(given.producer_id, given.producer_epoch)
        await super().start()

    async def stop(self) -> None:
        """Close both connections; what is not acknowledged by now is given up."""
        self._message_accumulator.fail_all(ProducerClosed())
        try:
            await super().stop()
        finally:
            if self._fence is not None:
                await self._fence.stop()

    async def publish(self, burst: Burst) -> None:
        """Have the broker acknowledge all rows; raises KafkaError when it did not take every one."""
        places = {TopicPartition(topic, number) for topic, number, _ in burst.batches}
        await self.fence({place.topic for place in places - self._fenced})
        await transmit(self, burst)
        if burst.rows[0]["millis"] / 1000 < time.time() - RENEW_SECONDS:
            await self._mark(places)  # by its records' time the epoch is as good as forgotten

    async def renew(self) -> None:
        """To be called every now and then: puts the fence up again before Kafka forgets it; raises KafkaError."""
        if self._fenced and time.monotonic() - self._renewed > RENEW_SECONDS:
            await self._mark(self._fenced)
            self._renewed = time.monotonic()

    async def fence(self, topics: Iterable[str]) -> None:
        """From here on these topics take nothing from an earlier producer of this service."""
        places = {TopicPartition(topic, number) for topic in topics for number in await self.partitions_for(topic)}
        if places:
            await self._mark(places)
            self._fenced |= places

    async def _mark(self, places: Iterable[TopicPartition]) -> None:
        if self._fence is None:
            return
        chosen = sorted(places)
        # Kafka answers that a transaction has ended before its markers stand, and lets the next one begin only when
        # they do.
        for marked in (chosen, chosen[:1]):
            await self._fence.begin_transaction()
            for place in marked:
                self._fence._txn_manager.maybe_add_partition_to_txn(place)
            await self._fence.commit_transaction()

    async def _send_while_leading(self, node_id: Any, request: Any, **options: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await self.client.ready(node_id, **options)  # first, since it may take its time
            await self._still_leads()
        return await self._send_request(node_id, request, **options)
