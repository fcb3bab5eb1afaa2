"""The relay's producer on Apache Kafka: whom it fences, and what that costs in the log."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from aiokafka.errors import ProducerFenced

from shared.ids import new_id
from shared.messaging.record_batches import Burst, Row, burst_of
from shared.messaging.relay_producer import RelayProducer
from shared.settings import KafkaSettings
from tests.support.log_ends import ends_of

pytestmark = pytest.mark.kafka
TOPIC = "medled.units.v1"
DAY = 86_400


@pytest.fixture
async def producers(kafka: str) -> AsyncIterator[Any]:
    """Makes relay producers of one service and stops them at the end."""

    async def leads() -> None:
        return

    settings: Any = KafkaSettings(kafka_bootstrap=kafka)
    service = f"test-{new_id()}"
    async with AsyncExitStack() as stack:

        async def started() -> RelayProducer:
            producer = RelayProducer(settings, service=service, still_leads=leads)
            stack.push_async_callback(producer.stop)
            await producer.start()
            return producer

        yield started


def rows(number: int = 40, *, age: float = 0) -> list[Row]:
    millis = int((time.time() - age) * 1000)
    made = [
        {
            "seq": n,
            "topic": TOPIC,
            "key": str(new_id()),
            "headers": "ce_sequence: 1",
            "payload": b"{}",
            "millis": millis,
        }
        for n in range(number)
    ]
    return [cast("Row", _AsRecord(each)) for each in made]


class _AsRecord(dict[str, Any]):
    """A row that is unpacked as asyncpg's: by its values."""

    def __iter__(self) -> Any:
        return iter(self.values())


async def grown(kafka: str, before: dict[int, int]) -> dict[int, int]:
    return {number: end - before[number] for number, end in (await ends_of(kafka, TOPIC)).items()}


async def test_a_replaced_producer_is_refused_in_every_partition_although_the_new_one_has_written_to_none(
    kafka: str, producers: Any
) -> None:
    old = await producers()
    await old.publish(await burst_of(old, rows()))
    in_hand = await burst_of(old, rows())
    new = await producers()
    await new.fence({TOPIC})
    before = await ends_of(kafka, TOPIC)
    places = {number for _, number, _ in in_hand.batches}
    assert places == before.keys()
    for batch in in_hand.batches:
        with pytest.raises(ProducerFenced):
            await old.publish(Burst(in_hand.rows, [batch]))
    assert set((await grown(kafka, before)).values()) == {0}
    await new.publish(await burst_of(new, rows()))


async def test_a_burst_adds_its_records_to_the_log_and_nothing_else(kafka: str, producers: Any) -> None:
    producer = await producers()
    await producer.publish(await burst_of(producer, rows()))
    before = await ends_of(kafka, TOPIC)
    for _ in range(3):
        await producer.publish(await burst_of(producer, rows()))
    assert sum((await grown(kafka, before)).values()) == 120


async def test_after_rows_so_old_that_kafka_would_forget_who_wrote_them_the_fence_is_put_up_again(
    kafka: str, producers: Any
) -> None:
    producer = await producers()
    await producer.publish(await burst_of(producer, rows()))
    before = await ends_of(kafka, TOPIC)
    await producer.publish(await burst_of(producer, rows(age=2 * DAY)))
    assert sum((await grown(kafka, before)).values()) >= 40 + len(before)


async def test_the_fence_is_put_up_again_everywhere_before_kafka_forgets_it(
    kafka: str, producers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await producers()
    await producer.publish(await burst_of(producer, rows()))
    before = await ends_of(kafka, TOPIC)
    await producer.renew()
    assert set((await grown(kafka, before)).values()) == {0}
    monkeypatch.setattr("shared.messaging.relay_producer.RENEW_SECONDS", 0.0)
    await producer.renew()
    assert min((await grown(kafka, before)).values()) >= 1
