"""Records as Kafka would hand them over, without Kafka."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from aiokafka import ConsumerRecord

from shared.events import Event
from shared.events.envelope import Header, header_lines, kafka_headers
from shared.ids import new_id
from shared.messaging.handler import Record

_offsets = count()


def record_of(event: Event, *, sequence: int = 1, event_id: UUID | None = None) -> Record:
    """The record that the relay would have produced, at the next offset of one partition."""
    id_ = event_id or new_id()
    lines = header_lines(
        type(event), id=id_, subject=event.subject, time=datetime.now(UTC), unit=event.unit, programme=event.programme,
        correlation_id=str(id_), causation_id=None, traceparent=None, tracestate=None,
    )  # fmt: skip
    return raw_record(
        event.topic, event.key.encode(), event.encode(), kafka_headers(f"{lines}\nce_sequence: {sequence}")
    )


def raw_record(topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> Record:
    """Any record, at the next offset."""
    return ConsumerRecord(
        topic=topic, partition=0, offset=next(_offsets), timestamp=0, timestamp_type=0, key=key, value=value,
        checksum=None, serialized_key_size=len(key or b""), serialized_value_size=len(value or b""),
        headers=tuple(headers),
    )  # fmt: skip
