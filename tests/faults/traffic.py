"""Records put on Kafka by somebody else than the relay: the same again, and poison."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from shared.events import EnrolmentRequested
from shared.events.envelope import header_lines, kafka_headers
from shared.ids import new_id
from tests.faults.stage import some_request

TOPIC = EnrolmentRequested.topic
UNKNOWN = "medled.enrolment.teleported.v1"

Header: TypeAlias = tuple[str, bytes | None]


async def read(bootstrap: str, *topics: str) -> "list[ConsumerRecord[bytes, bytes]]":
    """Every committed record on these topics now."""
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed",
        auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[ConsumerRecord[bytes, bytes]] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def publish_again(bootstrap: str, *topics: str) -> int:
    """Every record once more, as it is, shuffled; returns how many."""
    records = await read(bootstrap, *topics)
    random.shuffle(records)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        for record in records:
            await producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
        await producer.flush()
    return len(records)


@dataclass(frozen=True)
class Poison:
    """What was put among the good records."""

    foreign: int
    undecodable: int
    unknown: dict[str, int]


async def poison(bootstrap: str, each: int) -> Poison:
    """Put `each` records of every bad kind on the topic, and as many of a type of ours that nobody knows yet."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for _ in range(each):
            request = some_request()
            good, value, key = _headers(request), request.encode(), request.key.encode()
            records: Sequence[tuple[bytes | None, bytes | None, list[Header]]] = [
                (key, b'{"enrolment_id": ', good),
                (key, b'{"enrolment_id": "x", "person_id": 7}', good),
                (key, value, _with(good, "ce_subject", None)),
                (b"\xff\x00", value, _with(good, "ce_id", b"\xff\xfe")),
                (None, value, []),
                (key, value, _with(_with(good, "ce_type", b"com.example.order.v1"), "ce_source", b"/shop")),
                (key, b'{"anything": true}', _with(good, "ce_type", UNKNOWN.encode())),
            ]
            for record_key, record_value, headers in records:
                await producer.send_and_wait(TOPIC, record_value, key=record_key, headers=headers)
    return Poison(foreign=each, undecodable=5 * each, unknown={UNKNOWN: each})


def _headers(request: EnrolmentRequested) -> list[Header]:
    event_id = new_id()
    lines = header_lines(
        EnrolmentRequested, id=event_id, subject=request.subject, time=datetime.now(UTC), unit=request.unit,
        programme=request.programme, correlation_id=str(event_id), causation_id=None, traceparent=None, tracestate=None,
    )  # fmt: skip
    return [*kafka_headers(f"{lines}\nce_sequence: 1")]


def _with(headers: Sequence[Header], name: str, value: bytes | None) -> list[Header]:
    return [(known, value if known == name else old) for known, old in headers]
