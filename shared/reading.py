"""Reading on, past what the Kafka client itself cannot read: a header name that is not UTF-8, a wrong checksum.

aiokafka takes what it has fetched partition by partition, and moves its position on with each. When it fails at one
record, it forgets what it took from the others; whoever calls it again goes on behind that. And at the one record it
fails again, for ever. So after such a failure everything is read anew, one partition and one record at a time, and the
record at fault comes as one without content, which nobody can decode: it ends as a dead letter, like its likes.
"""

from collections.abc import Collection, Mapping
from itertools import chain

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from shared.set_aside import Record

log = structlog.get_logger(__name__)

HEADER = "medled-unreadable"  # on the record without content: what the client said
_WAIT_MILLISECONDS = 200  # for a partition's first record; what is fetched already comes at once


def is_fault_of_a_record(error: BaseException) -> bool:
    """Whether reading failed at what was read, not at the broker."""
    return isinstance(error, Exception) and (
        not isinstance(error, KafkaError) or isinstance(error, CorruptRecordException)
    )


async def read_one_by_one(client: AIOKafkaConsumer, place: TopicPartition, most: int) -> tuple[list[Record], bool]:
    """At most `most` records of one partition; the last one is without content when True comes with them.

    The client then stands behind it. Raises KafkaError when the broker is at fault.
    """
    taken: list[Record] = []
    while len(taken) < most:
        try:
            fetched = await client.getmany(place, timeout_ms=0 if taken else _WAIT_MILLISECONDS, max_records=1)
        except Exception as error:
            if not is_fault_of_a_record(error):
                raise
            record = _without_content(place, _offset_at_fault(client, place), error)
            client.seek(place, record.offset + 1)
            log.error("a record cannot be read", topic=place.topic, partition=place.partition, offset=record.offset,
                      error=type(error).__name__)  # fmt: skip
            return [*taken, record], True
        if not fetched.get(place):
            break
        taken += fetched[place]
    return taken, False


async def read_all(client: AIOKafkaConsumer, places: Collection[TopicPartition], timeout_ms: int) -> list[Record]:
    """What `getmany` gives, whatever cannot be read, for a client whose partitions stay its own; in log order of each.

    Raises KafkaError when the broker is at fault.
    """
    before = {place: await client.position(place) for place in places}
    try:
        fetched = await client.getmany(*places, timeout_ms=timeout_ms)
    except Exception as error:
        if not is_fault_of_a_record(error):
            raise
        for place, offset in before.items():
            client.seek(place, offset)
        parts = [(await read_one_by_one(client, place, 1000))[0] for place in places]
        return list(chain.from_iterable(parts))
    return list(chain.from_iterable(fetched.values()))


async def behind(
    client: AIOKafkaConsumer, places: Collection[TopicPartition], ends: Mapping[TopicPartition, int]
) -> list[TopicPartition]:
    """Those of these partitions in which there is more to read, as far as their ends or the last fetch tell.

    The embedded broker tells of ends that lie too early, since it counts a batch of records as one; what comes with a
    fetch is right.
    """
    return [place for place in places if await client.position(place) < max(ends[place], client.highwater(place) or 0)]


def _offset_at_fault(client: AIOKafkaConsumer, place: TopicPartition) -> int:
    # Its public position stands at the mark of a transaction's end before that record, if there is one.
    held = client._fetcher._records[place]
    offset: int = held._partition_records.next_fetch_offset
    return offset


def _without_content(place: TopicPartition, offset: int, error: Exception) -> Record:
    told = type(error).__name__.encode()  # not its message, which quotes what was read
    return ConsumerRecord(place.topic, place.partition, offset, 0, 0, None, None, None, -1, -1, ((HEADER, told),))
