"""The producer of one relay: what its predecessor still has in hand never lands behind what this one sends (ADR 0011).

Every record carries the producer id of the relay's transactional id and an epoch that only grows. A partition refuses
an epoch below the highest it has seen, so before a topic is first written to, this one's epoch is put into all its
partitions by a transaction without records. What follows are plain idempotent sends: no transaction, no marker.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, NodeNotReadyError, ProducerClosed
from aiokafka.protocol.produce import ProduceRequest

from shared.messaging.record_batches import Burst, transmit
from shared.settings import Settings

DELIVERY_SECONDS = 10.0
# A partition forgets an epoch a day (producer.id.expiration.ms) after the time of the last record or marker with it,
# Kafka a transactional id after a week (transactional.id.expiration.ms). Both are renewed long before.
RENEW_SECONDS = 3600.0
RENEWAL_SECONDS = 60.0  # for one renewal: a topic that somebody has deleted would be waited for without end
CLOSE_SECONDS = 2.0  # for what a connection has under way when it is to be closed

# Goes on while the machine sleeps, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds since some moment, those included in which the machine slept or this process was stopped."""
    return time.clock_gettime(_CLOCK)


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
        self._renewed = uptime()

    async def start(self) -> None:
        """Connect, and take the next epoch; raises KafkaError."""
        if self._fence is not None:
            await self._fence.start()
            given = self._fence._txn_manager
            self._txn_manager.set_pid_and_epoch(given.producer_id, given.producer_epoch)
        await super().start()

    async def stop(self) -> None:
        """Close both connections; what is not acknowledged by now is given up."""
        # The library's own way waits for batches to be acknowledged, and a sender whose batches were given up while
        # it has them under way breaks: it puts back what it may send again, and does not find it.
        await _end_sending(self)
        self._message_accumulator.fail_all(ProducerClosed())
        await super().stop()
        if self._fence is not None:
            await _end_sending(self._fence)
            await self._fence.stop()

    async def publish(self, burst: Burst) -> None:
        """Have the broker acknowledge all rows; raises KafkaError when it did not take every one."""
        places = {TopicPartition(topic, number) for topic, number, _ in burst.batches}
        await self.fence({place.topic for place in places - self._fenced})
        await transmit(self, burst)
        if min(row["millis"] for row in burst.rows) / 1000 < time.time() - RENEW_SECONDS:
            await self._mark(places)  # by its records' time the epoch is as good as forgotten

    async def renew(self) -> None:
        """To be called every now and then: puts the fence up again before Kafka forgets it; raises KafkaError."""
        if self._fenced and uptime() - self._renewed > RENEW_SECONDS:
            try:
                async with asyncio.timeout(RENEWAL_SECONDS):
                    await self._mark(self._fenced)
            except TimeoutError as error:
                raise KafkaTimeoutError("the fence could not be put up again") from error
            self._renewed = uptime()

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
            await self._look_with_a_connection(node_id)
        return await self._send_request(node_id, request, **options)

    async def _look_with_a_connection(self, node_id: Any) -> None:
        """Returns when `still_leads` was asked last and the connection stands: nothing more is awaited before writing.

        A connection that is made after the look would be one that a relay stopped in between thaws into.
        """
        looked_with = None
        while looked_with is None or await self.client._get_conn(node_id) is not looked_with:
            looked_with = await self.client._get_conn(node_id)
            if looked_with is None:
                raise NodeNotReadyError(f"no connection to broker {node_id}")
            await self._still_leads()


async def _end_sending(producer: AIOKafkaProducer) -> None:
    """Have its sender finish what it has under way, or break that off when it takes long."""
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer._sender.close()
