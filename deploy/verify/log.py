"""What lies on Kafka, read without taking part: no group, no commit, no record written."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.epoch import EPOCH_TOPIC
from shared.events.base import decode
from shared.events.envelope import Undecodable, UnknownType, parse_headers
from shared.reading import behind, read_all
from shared.topics import partition_counts

Place: TypeAlias = tuple[str, int, int]  # topic, partition, offset
_EPOCH = TopicPartition(EPOCH_TOPIC, 0)
_TIMEOUT = 20.0


@dataclass(slots=True)
class Contents:
    """The events on Kafka in one life of the broker.

    places: by type, each event's first record and that record's time (ms). repeated: by type, further records.
    faults: records nobody can decode, with their type where their headers at least are sound.
    first, last: time (ms) of each partition's first record, offset of its last; transaction markers, which take offsets
        too, are no records. cut: partitions that have lost their beginning to retention.
    """

    epoch: UUID
    places: dict[str, dict[UUID, tuple[Place, int]]] = field(default_factory=lambda: defaultdict(dict))
    repeated: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: list[tuple[Place, str | None]] = field(default_factory=list)
    first: dict[tuple[str, int], int] = field(default_factory=dict)
    last: dict[tuple[str, int], int] = field(default_factory=dict)
    cut: set[tuple[str, int]] = field(default_factory=set)

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Account for one record."""
        place = record.topic, record.partition, record.offset
        self.first.setdefault(place[:2], record.timestamp)
        self.last[place[:2]] = record.offset
        try:
            envelope = parse_headers(record.headers)
            (record.key or b"").decode()
        except (Undecodable, UnicodeDecodeError):
            self.faults.append((place, None))
            return
        try:
            decode(envelope, record.value, topic=record.topic, key=record.key)
        except UnknownType:
            return  # whoever reads it skips it
        except Undecodable:
            self.faults.append((place, envelope.type))
            return
        known = self.places[envelope.type]
        if envelope.id in known:
            self.repeated[envelope.type] += 1
        else:
            known[envelope.id] = place, record.timestamp

    def kept_since(self, topic: str) -> float:
        """Time (ms) before which records of the topic may be gone to retention; 0 while none are."""
        return max((self.first.get(place, math.inf) for place in self.cut if place[0] == topic), default=0)


class Log:
    """Reads the topics to their end, again and again; starts anew when the broker has begun a new life."""

    def __init__(self, client: Mapping[str, Any], topics: Iterable[str]) -> None:
        self._client = dict(client)
        self._topics = sorted(topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._contents: Contents | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Forget everything read."""
        consumer, self._consumer, self._contents = self._consumer, None, None
        if consumer is not None:
            await consumer.stop()

    async def read_to_end(self) -> Contents | None:
        """All that is on Kafka now; None while the broker is so new that no service has been there.

        Raises KafkaError or TimeoutError when the broker does not answer.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                consumer = await self._connect()
                epoch = await _epoch(consumer)
                if epoch is None:
                    await self.close()
                    return None
                if self._contents is None or self._contents.epoch != epoch:
                    self._contents = Contents(epoch)
                    await consumer.seek_to_beginning(*_assigned(consumer))
            await _read(consumer, self._contents)
        except (KafkaError, TimeoutError):
            await self.close()
            raise
        return self._contents

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # Only what is committed: a record of an aborted transaction is one nobody outside ever sees.
            consumer = AIOKafkaConsumer(
                **self._client, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
                isolation_level="read_committed",
            )  # fmt: skip
            self._consumer = consumer
            await consumer.start()
            known = await partition_counts(self._client, wait=_TIMEOUT)
            consumer.assign(
                [TopicPartition(name, n) for name in (*self._topics, EPOCH_TOPIC) for n in range(known.get(name, 0))]
            )
        return self._consumer


def _assigned(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    return [place for place in consumer.assignment() if place != _EPOCH]


async def _epoch(consumer: AIOKafkaConsumer) -> UUID | None:
    """The broker's life, named by the first record of the epoch topic."""
    if _EPOCH not in consumer.assignment() or not (await consumer.end_offsets([_EPOCH]))[_EPOCH]:
        return None
    consumer.seek(_EPOCH, 0)
    while True:
        batch = await consumer.getmany(_EPOCH, timeout_ms=500, max_records=1)
        for record in batch.get(_EPOCH, []):
            return UUID((record.value or b"").decode())


async def _read(consumer: AIOKafkaConsumer, contents: Contents) -> None:
    places = _assigned(consumer)
    starts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
    contents.cut = {(place.topic, place.partition) for place, start in starts.items() if start}
    ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
    wanted = places  # a first look at all of them, since the ends told may lie too early
    while wanted:
        async with asyncio.timeout(_TIMEOUT):
            records = await read_all(consumer, wanted, timeout_ms=200)
        for record in records:
            contents.take(record)
        wanted = await behind(consumer, places, ends)
