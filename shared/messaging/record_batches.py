"""Outbox rows as Kafka's record batches: what a relay does for every row, so it is short."""

import asyncio
import struct
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.events.envelope import kafka_headers

Row = asyncpg.Record  # seq, topic, key, headers, payload, millis

OLD_SECONDS = 3600.0  # by the time of such a row Kafka may soon forget who wrote it
_YIELD_EVERY = 200  # rows; the burst before this one is on its way meanwhile and wants its turn


@dataclass(frozen=True, slots=True)
class Burst:
    """Rows, and the batches they became: topic, partition, batch, in the order in which to send them."""

    rows: Sequence[Row]
    batches: Sequence[tuple[str, int, Any]]
    transactional: bool = False


class MakesBatches(Protocol):
    """What a burst needs of the producer that is to send it."""

    async def partitions_for(self, topic: str) -> Collection[int]: ...

    def create_batch(self, *, transactional: bool) -> Any: ...


async def burst_of(producer: MakesBatches, rows: Sequence[Row]) -> Burst:
    """These rows as batches by hand, one or a few per partition, each partition's records in the rows' order.

    Raises KafkaError when the broker cannot say what partitions a topic has.
    """
    partitions: dict[str, int] = {}
    filling: dict[tuple[str, int], Any] = {}
    batches: list[tuple[str, int, Any]] = []
    transactional = bool(rows) and min(row["millis"] for row in rows) / 1000 < time.time() - OLD_SECONDS
    for nth, (_, topic, key, headers, payload, millis) in enumerate(rows, 1):
        if nth % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        if topic not in partitions:
            partitions[topic] = len(await producer.partitions_for(topic))
        raw = key.encode()
        place = topic, partition_of(raw, partitions[topic])
        record = {"timestamp": millis, "key": raw, "value": payload, "headers": kafka_headers(headers)}
        batch = filling.get(place)
        if batch is None or batch.append(**record) is None:
            batch = filling[place] = producer.create_batch(transactional=transactional)
            batches.append((*place, batch))
            batch.append(**record)
    return Burst(rows, batches, transactional)


async def transmit(producer: AIOKafkaProducer, burst: Burst) -> None:
    """Send a burst pipelined; returns when the broker has acknowledged all of it, raises KafkaError when it did not."""
    await asyncio.gather(
        *[await producer.send_batch(batch, topic, partition=number) for topic, number, batch in burst.batches]
    )


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's own clients would put a record with this key; an aggregate's events come close together."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The hash of Kafka's default partitioner, as aiokafka's but by words: that one was a third of the relay's time."""
    size = len(data)
    value = 0x9747B28C ^ size
    for word in struct.unpack_from(f"<{size // 4}I", data):
        mixed = word * 0x5BD1E995 & 0xFFFFFFFF
        value = (value * 0x5BD1E995 & 0xFFFFFFFF) ^ ((mixed ^ mixed >> 24) * 0x5BD1E995 & 0xFFFFFFFF)
    if size % 4:
        value = (value ^ int.from_bytes(data[size & ~3 :], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return value ^ value >> 15
