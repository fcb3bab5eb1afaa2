"""What lies on Kafka, read without taking part: no group, no commit, no record written."""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from deploy.verify.store.tables import LogEntry
from shared.events.envelope import UndecodableError, UnknownTypeError, parse_headers
from shared.events.event import decode
from shared.messaging.epoch import EPOCH_PLACE, EPOCH_TOPIC, first_epoch
from shared.messaging.tolerant_fetch import partitions_behind, read_all
from shared.messaging.topic_admin import partition_counts

Place: TypeAlias = tuple[str, int]  # topic, partition
_TIMEOUT = 20.0
_AT_A_TIME = 5000  # records
_FETCH_BYTES = 8_000_000
_FETCH_MILLISECONDS = 50  # a broker keeps a fetch open so long, and with it whatever is asked next


@dataclass(slots=True)
class Retained:
    """What a topic has lost to retention. cut: partitions without their beginning; first: time (ms) of what begins."""

    cut: set[int] = field(default_factory=set)
    first: dict[int, int] = field(default_factory=dict)

    @property
    def since(self) -> float:
        """Time (ms) before which records may be gone; 0 while none are."""
        return max((self.first.get(partition, math.inf) for partition in self.cut), default=0)


class Log:
    """Reads topics to their end, some records at a time."""

    def __init__(self, client: Mapping[str, Any], topics: Iterable[str]) -> None:
        self._client = dict(client)
        self._topics = sorted(topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: dict[str, int] = {}
        self._tail: UUID | None = None  # the life of the broker in which the client stands at the topics' ends
        self._last: dict[Place, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the broker, and of the place in its topics; the next question connects again."""
        consumer, self._consumer = self._consumer, None
        self._tail, self._last = None, {}
        if consumer is not None:
            await consumer.stop()

    async def epoch(self) -> UUID | None:
        """The broker's life; None while it is so new that no service has been there.

        This and all else raises KafkaError or TimeoutError when the broker does not answer.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                consumer = await self._connect()
                found = await first_epoch(consumer) if EPOCH_PLACE in consumer.assignment() else None
        except (KafkaError, TimeoutError):
            await self.close()
            raise
        if found is None:
            await self.close()  # its topics are still to be made
        return found

    async def ends(self, epoch: UUID, reached: Mapping[Place, int]) -> Mapping[Place, int]:
        """Offset of the last record of every partition that has one at or behind the place reached there.

        Of records, not of the marks at the ends of transactions, which take offsets too.
        """
        try:
            consumer = await self._connect()
            places = self._places(self._topics)
            if self._tail != epoch:
                consumer.assign([*places, EPOCH_PLACE])
                for place in places:
                    consumer.seek(place, reached.get((place.topic, place.partition), 0))
                self._tail, self._last = epoch, {}
            async for records in _to_the_end(consumer, places):
                for record in records:
                    self._last[record.topic, record.partition] = record.offset
        except (KafkaError, TimeoutError):
            await self.close()
            raise
        return self._last

    async def read(self, topic: str, kept: Retained) -> AsyncIterator[list[LogEntry]]:
        """All records of a topic from its beginning, some at a time; notes in `kept` what is no longer there."""
        self._tail = None
        try:
            consumer = await self._connect()
            places = self._places([topic])
            consumer.assign([*places, EPOCH_PLACE])
            await consumer.seek_to_beginning(*places)
            starts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
            kept.cut = {place.partition for place, start in starts.items() if start}
            async for records in _to_the_end(consumer, places):
                for record in records:
                    kept.first.setdefault(record.partition, record.timestamp)
                yield [entry_of(record) for record in records]
        except (KafkaError, TimeoutError):
            await self.close()
            raise

    def _places(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(name, n) for name in topics for n in range(self._partitions.get(name, 0))]

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # Only what is committed: a record of an aborted transaction is one nobody outside ever sees.
            consumer = AIOKafkaConsumer(
                **self._client, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
                isolation_level="read_committed", max_poll_records=_AT_A_TIME, fetch_max_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_MILLISECONDS,
            )  # fmt: skip
            self._consumer = consumer
            await consumer.start()
            self._partitions = await partition_counts(self._client, wait=_TIMEOUT)
            consumer.assign([EPOCH_PLACE] if EPOCH_TOPIC in self._partitions else [])
        return self._consumer


def entry_of(record: "ConsumerRecord[bytes, bytes]") -> LogEntry:
    """A record as it is compared with outbox and inbox."""
    place, digest = (record.partition, record.offset, record.timestamp), digest_of(record)
    try:
        envelope = parse_headers(record.headers)
    except UndecodableError:
        return LogEntry(None, None, None, None, *place, digest, fault=True)
    told = envelope.id, envelope.type, envelope.subject, envelope.sequence
    try:
        decode(envelope, record.value, topic=record.topic, key=record.key)
    except UnknownTypeError:
        pass  # whoever reads it skips it
    except UndecodableError:
        return LogEntry(*told, *place, digest, fault=True)
    return LogEntry(*told, *place, digest, fault=False)


def digest_of(record: "ConsumerRecord[bytes, bytes]") -> bytes:
    """Of what the relay makes of an outbox row: how many headers, its key, its headers as lines, its payload."""
    head = b"%d\n%b\n" % (len(record.headers), record.key or b"")
    lines = b"".join(name.encode(errors="replace") + b": " + (value or b"") + b"\n" for name, value in record.headers)
    value = b"\0" if record.value is None else record.value
    return hashlib.sha256(head + lines + value).digest()


async def _to_the_end(
    consumer: AIOKafkaConsumer, places: Collection[TopicPartition]
) -> "AsyncIterator[list[ConsumerRecord[bytes, bytes]]]":
    ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
    wanted = list(places)  # a first look at all of them, since the ends told may lie too early
    while wanted:
        async with asyncio.timeout(_TIMEOUT):
            records = await read_all(consumer, wanted, timeout_ms=200)
        if records:
            yield records
        wanted = await partitions_behind(consumer, places, ends)
