"""The producer of one relay: what its predecessor still has in hand never lands behind what this one sends (ADR 0011).

Every record carries the producer id of the relay's transactional id and an epoch that only grows. A partition refuses
an epoch below the highest it has seen, so before a topic is first written to, this one's epoch is put into all its
partitions by a transaction without records. What follows are plain idempotent sends: no transaction, no marker. Only
rows so old that by their time Kafka would forget the epoch at once go in a transaction: while it is open, it does not.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain
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
RENEWAL_SECONDS = 60.0  # for one fence: a topic that somebody has deleted would be waited for without end
CLOSE_SECONDS = 2.0  # for what a connection has under way when it is to be closed

# Goes on while the machine sleeps, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds since some moment, those included in which the machine slept or this process was stopped."""
    return time.clock_gettime(_CLOCK)


class RelayProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka declares no types
    """An idempotent producer behind a fence; starting one fences every earlier one of the same service.

    `confirm_leadership` is awaited before each request and raises a KafkaError that is not retriable once somebody else
    may lead: it stops a relay that thaws after the broker has forgotten what it was to refuse, and is all there is
    without `kafka_transactions`. `confirm_broker` is awaited before the first request over each connection and raises
    one when the broker has begun another life: what came there with an epoch of the life before would be above
    every new one's, whose transactions would then never end.
    """

    def __init__(
        self, settings: Settings, *, service: str,
        confirm_leadership: Callable[[], Awaitable[None]], confirm_broker: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        options: dict[str, Any] = {
            **settings.kafka_client(), "acks": "all", "request_timeout_ms": int(DELIVERY_SECONDS * 1000),
            "max_batch_size": 950_000, "max_request_size": 1_000_000,
        }  # fmt: skip
        super().__init__(**options, enable_idempotence=settings.kafka_transactions)
        self._confirm_leadership = confirm_leadership
        self._confirm_broker = confirm_broker
        self._confirmed: dict[tuple[int, Any], Any] = {}  # by client and node: the connection that leads to this life
        self._fence: AIOKafkaProducer | None = None
        if settings.kafka_transactions:
            self._fence = AIOKafkaProducer(**options, transactional_id=f"medled-{service}-relay")
            # To Kafka the two are one producer, whose records are numbered through.
            self._fence._txn_manager._sequence_numbers = self._txn_manager._sequence_numbers
        for client in [self.client] if self._fence is None else [self.client, self._fence.client]:
            client.send = partial(self._send_as_leader, client, client.send)
        self._fenced: set[TopicPartition] = set()
        self._renewed = uptime()

    async def start(self) -> None:
        """Connect, and take the next epoch; raises KafkaError."""
        if self._fence is not None:
            async with _in_time("no epoch was given"):
                await self._fence.start()
            given = self._fence._txn_manager
            self._txn_manager.set_pid_and_epoch(given.producer_id, given.producer_epoch)
        await super().start()

    async def stop(self) -> None:
        """Close both connections; what is not acknowledged by now is given up."""
        for producer in [self] if self._fence is None else [self, self._fence]:
            await _abort(producer)
            await AIOKafkaProducer.stop(producer)

    async def publish(self, burst: Burst) -> None:
        """Have the broker acknowledge all rows; raises KafkaError when it did not take every one."""
        places = {TopicPartition(topic, number) for topic, number, _ in burst.batches}
        await self.fence({place.topic for place in places - self._fenced})
        if burst.transactional and self._fence is not None:
            await self._fence.begin_transaction()
            await transmit(self._fence, burst)
            await self._fence.commit_transaction()
            await self._wait_for_markers(places)
        else:
            await transmit(self, burst)

    def create_batch(self, *, transactional: bool = False) -> Any:
        """An empty batch; one for a transaction is of another kind from the start."""
        return self._fence.create_batch() if transactional and self._fence is not None else super().create_batch()

    async def renew(self) -> None:
        """To be called every now and then: puts the fence up again before Kafka forgets it; raises KafkaError."""
        if self._fenced and uptime() - self._renewed > RENEW_SECONDS:
            await self._mark(self._fenced)
            self._renewed = uptime()

    async def fence(self, topics: Iterable[str]) -> None:
        """From here on these topics take nothing from an earlier producer of this service."""
        places = {TopicPartition(topic, number) for topic in topics for number in await self.partitions_for(topic)}
        if places:
            await self._mark(places)
            self._fenced |= places

    async def _mark(self, places: Collection[TopicPartition]) -> None:
        if self._fence is not None:
            async with _in_time("the fence could not be put up"):
                await self._transaction_without_records(self._fence, places)
                await self._wait_for_markers(places)

    async def _wait_for_markers(self, places: Collection[TopicPartition]) -> None:
        """Wait until the transaction before has ended in all its partitions, of which these are some.

        Kafka answers that it has ended before its markers stand, and lets the next one begin only when they do.
        """
        if self._fence is not None:
            await self._transaction_without_records(self._fence, [min(places)])

    async def _transaction_without_records(self, fence: AIOKafkaProducer, places: Iterable[TopicPartition]) -> None:
        await fence.begin_transaction()
        for place in sorted(places):
            fence._txn_manager.maybe_add_partition_to_txn(place)
        await fence.commit_transaction()

    async def _send_as_leader(self, client: Any, send: Any, node_id: Any, request: Any, **options: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await self._confirm_leadership_over_connection(client, node_id)
        return await send(node_id, request, **options)

    async def _confirm_leadership_over_connection(self, client: Any, node_id: Any) -> None:
        """Returns when leadership was confirmed last and the connection stands: nothing more is awaited before writing.

        A relay that is stopped in between would thaw into a connection that is made after the confirmation.
        """
        looked_with = None
        while looked_with is None or await client._get_conn(node_id) is not looked_with:
            looked_with = await client._get_conn(node_id)
            if looked_with is None:
                raise NodeNotReadyError(f"no connection to broker {node_id}")
            if self._confirmed.get((id(client), node_id)) is not looked_with:
                await self._confirm_broker()
                self._confirmed[id(client), node_id] = looked_with
            await self._confirm_leadership()


@asynccontextmanager
async def _in_time(what: str) -> AsyncIterator[None]:
    """Raise KafkaTimeoutError after a while: the library asks without end, and tells nobody."""
    try:
        async with asyncio.timeout(RENEWAL_SECONDS):
            yield
    except TimeoutError as error:
        raise KafkaTimeoutError(what) from error


async def _abort(producer: AIOKafkaProducer) -> None:
    """End its sender, and what it was to send. The library's own way waits for all of that to be acknowledged.

    In this order: a sender whose batches are given up while it has them under way breaks, since it puts back what it
    may send again.
    """
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer._sender.close()
    accumulator = producer._message_accumulator
    batches = [*accumulator._pending_batches, *chain.from_iterable(accumulator._batches.values())]
    accumulator.fail_all(ProducerClosed())
    for batch in batches:
        batch.future.exception()  # nobody else asks any more, and would be told of in the log
