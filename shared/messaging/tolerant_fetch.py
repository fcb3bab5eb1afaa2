"""Reading on, past what the Kafka client itself cannot read: a header name that is not UTF-8, a wrong checksum.

aiokafka takes what it has fetched partition by partition, and moves its position on with each. When it fails at one
record, it forgets what it took from the others; whoever calls it again goes on behind that. And at the one record it
fails again, for ever. So after such a failure everything is read anew, one partition and one record at a time. What is
left of the batch at fault, which the client reads as a whole or not at all, comes as one record without content, which
nobody can decode: it ends as a dead letter, like its likes.
"""

from collections.abc import Collection, Mapping
from itertools import chain

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from shared.messaging.handler import Record

log = structlog.get_logger(__name__)

HEADER = "medled-unreadable"  # on the record without content: what the client said, and the first offset it stands for
_FIRST_WAIT_MILLISECONDS = 1500  # longer than a broker keeps a fetch open for more, which takes all partitions at once
_WAIT_MILLISECONDS = 200  # for those fetched with it
_AT_A_TIME = 1000


def is_fault_of_a_record(error: BaseException) -> bool:
    """Whether reading failed at what was read, not at the broker."""
    return isinstance(error, Exception) and (
        not isinstance(error, KafkaError) or isinstance(error, CorruptRecordException)
    )


async def read_one_by_one(
    client: AIOKafkaConsumer, place: TopicPartition, most: int, wait_ms: int = _WAIT_MILLISECONDS
) -> tuple[list[Record], bool]:
    """At most `most` records of one partition; the last one is without content when True comes with them.

    The client then stands behind it. Raises KafkaError when the broker is at fault.
    """
    taken: list[Record] = []
    while len(taken) < most:
        try:
            fetched = await client.getmany(place, timeout_ms=0 if taken else wait_ms, max_records=1)
        except Exception as error:
            if not is_fault_of_a_record(error):
                raise
            first, last = _offsets_at_fault(error, await client.position(place))
            client.seek(place, last + 1)
            log.error("records cannot be read", topic=place.topic, partition=place.partition, first=first, last=last,
                      error=type(error).__name__)  # fmt: skip
            return [*taken, _without_content(place, first, last, error)], True
        if not fetched.get(place):
            break
        taken += fetched[place]
    return taken, False


async def read_tolerantly(
    client: AIOKafkaConsumer, places: Collection[TopicPartition], most: int
) -> tuple[list[Record], bool]:
    """At most `most` records, one partition after the other, up to the first that cannot be read.

    With them comes whether there may be another such: True until all that is there was read without meeting one.
    """
    taken: list[Record] = []
    wait = _FIRST_WAIT_MILLISECONDS
    for place in places:
        records, found = await read_one_by_one(client, place, most - len(taken), wait)
        taken += records
        if found or len(taken) == most:
            return taken, True
        wait = _WAIT_MILLISECONDS
    return taken, bool(await partitions_behind(client, places))


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
        return (await read_tolerantly(client, places, _AT_A_TIME))[0]
    return list(chain.from_iterable(fetched.values()))


async def partitions_behind(
    client: AIOKafkaConsumer, places: Collection[TopicPartition], ends: Mapping[TopicPartition, int] | None = None
) -> list[TopicPartition]:
    """Those of these partitions in which there is more to read, as far as their ends or the last fetch tell.

    The embedded broker tells of ends that lie too early, since it counts a batch of records as one; what comes with a
    fetch is right. Who reads only what is committed cannot read beyond the last stable offset.
    """
    return [
        place for place in places if await client.position(place) < max((ends or {}).get(place, 0), _end(client, place))
    ]


def _end(client: AIOKafkaConsumer, place: TopicPartition) -> int:
    stable: int | None = client.last_stable_offset(place)  # -1 for who reads uncommitted records too
    return stable if stable is not None and stable >= 0 else client.highwater(place) or 0


def _offsets_at_fault(error: Exception, position: int) -> tuple[int, int]:
    """The first and last offset that cannot be read: from here to the end of the batch in which the client failed.

    The client tells of the batch nowhere but where it failed. Its position may stand before it, at the mark of a
    transaction's end or at what compaction has removed.
    """
    trace = error.__traceback__
    while trace is not None:
        batch = trace.tb_frame.f_locals.get("next_batch")
        if batch is not None:
            return max(position, batch.base_offset), max(position, batch.next_offset - 1)
        trace = trace.tb_next
    return position, position


def _without_content(place: TopicPartition, first: int, last: int, error: Exception) -> Record:
    told = f"{type(error).__name__}, from offset {first}".encode()  # not its message, which quotes what was read
    return ConsumerRecord(place.topic, place.partition, last, 0, 0, None, None, None, -1, -1, ((HEADER, told),))
