"""The relay's producer on Apache Kafka: whom it fences, and what that costs in the log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, KafkaTimeoutError, NodeNotReadyError, ProducerFenced

from deploy.embedded.kafka import KafkaBroker
from shared.ids import new_id
from shared.messaging.epoch import EpochWatcher
from shared.messaging.record_batches import Burst, burst_of
from shared.messaging.relay_producer import RelayProducer
from shared.messaging.topic_admin import ensure_topics
from shared.settings import KafkaSettings, Settings
from tests.support.log_ends import ends_of
from tests.support.outbox_rows import TOPIC, rows
from tests.support.settings import make_settings

pytestmark = pytest.mark.kafka
DAY = 86_400


async def leads() -> None:
    return


@pytest.fixture
async def producers(kafka: str) -> AsyncIterator[Any]:
    """Makes relay producers of one service and stops them at the end."""

    settings: Any = KafkaSettings(kafka_bootstrap=kafka)
    service = f"test-{new_id()}"
    async with AsyncExitStack() as stack:

        async def started(
            confirm_leadership: Callable[[], Awaitable[None]] = leads,
            confirm_broker: Callable[[], Awaitable[None]] = leads,
        ) -> RelayProducer:
            producer = RelayProducer(
                settings, service=service, confirm_leadership=confirm_leadership, confirm_broker=confirm_broker
            )
            stack.push_async_callback(producer.stop)
            await producer.start()
            return producer

        yield started


async def grown(kafka: str, before: dict[int, int]) -> dict[int, int]:
    return {number: end - before[number] for number, end in (await ends_of(kafka, TOPIC)).items()}


async def test_a_replaced_producer_is_refused_in_every_partition_although_the_new_one_has_written_to_none(
    kafka: str, producers: Any
) -> None:
    old = await producers()
    await old.publish(await burst_of(old, rows()))
    in_hand = await burst_of(old, rows(200))  # enough for every partition to get some
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


async def test_rows_so_old_that_kafka_would_forget_who_wrote_them_go_in_a_transaction_between_those_that_do_not(
    kafka: str, producers: Any
) -> None:
    producer = await producers()
    await producer.publish(await burst_of(producer, rows(200)))
    before = await ends_of(kafka, TOPIC)
    for age in (2 * DAY, 0, 2 * DAY, 2 * DAY, 0):
        await producer.publish(await burst_of(producer, rows(200, age=age)))
    markers_and_rows = sum((await grown(kafka, before)).values())
    assert markers_and_rows == 5 * 200 + 3 * (len(before) + 1)
    assert await committed_ends(kafka) == await ends_of(kafka, TOPIC)


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
    await producer.publish(await burst_of(producer, rows()))


async def test_a_topic_that_somebody_has_deleted_does_not_hold_the_renewal_up_for_ever(
    kafka: str, producers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"test.{new_id()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        producer = await producers()
        await producer.publish(await burst_of(producer, rows(topic=topic)))
        await admin.delete_topics([topic])
    finally:
        await admin.close()
    monkeypatch.setattr("shared.messaging.relay_producer.RENEW_SECONDS", 0.0)
    monkeypatch.setattr("shared.messaging.relay_producer.RENEWAL_SECONDS", 0.5)
    async with asyncio.timeout(10):
        with pytest.raises(KafkaTimeoutError):
            await producer.renew()


async def test_a_producer_whose_connection_breaks_while_it_asks_whether_it_leads_asks_again_with_the_next(
    kafka: str, producers: Any
) -> None:
    asked: list[bool] = []

    async def deposed_meanwhile() -> None:
        asked.append(True)
        if len(asked) > 1:
            raise ProducerFenced
        for connection in list(producer.client._conns.values()):
            connection.close()

    producer = await producers(deposed_meanwhile)
    before = await ends_of(kafka, TOPIC)
    with pytest.raises(ProducerFenced):
        await producer.publish(await burst_of(producer, rows()))
    # The fence's two markers are there, and nothing else.
    assert max((await grown(kafka, before)).values()) <= 2


@pytest.mark.parametrize("age", [0, 2 * DAY])
async def test_a_producer_can_be_stopped_while_what_it_sends_fails_and_is_to_be_sent_again(
    kafka: str, producers: Any, age: float
) -> None:
    async def no_connection() -> None:
        raise NodeNotReadyError

    producer = await producers(no_connection)
    sending = asyncio.create_task(producer.publish(await burst_of(producer, rows(age=age))))
    sends = producer._fence if age else producer
    while not sends._message_accumulator._pending_batches:
        await asyncio.sleep(0.01)
    sending.cancel()
    async with asyncio.timeout(4):
        await producer.stop()
    successor = await producers()
    await successor.publish(await burst_of(successor, rows()))
    assert await committed_ends(kafka) == await ends_of(kafka, TOPIC)


async def test_readers_of_committed_records_do_not_wait_for_what_a_predecessor_of_0_1_left_open(
    kafka: str, producers: Any
) -> None:
    producer = await producers()
    predecessor = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=producer._fence._txn_manager.transactional_id
    )
    await predecessor.start()
    await predecessor.begin_transaction()
    for number in await predecessor.partitions_for(TOPIC):
        await predecessor.send_and_wait(TOPIC, b"{}", key=b"left open", partition=number)
    held = await committed_ends(kafka)
    successor = await producers()
    await successor.publish(await burst_of(successor, rows()))
    assert await committed_ends(kafka) == await ends_of(kafka, TOPIC) != held
    with pytest.raises(ProducerFenced):
        await predecessor.commit_transaction()
    await predecessor.stop()


async def committed_ends(kafka: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=kafka, isolation_level="read_committed")
    await consumer.start()
    try:
        places: list[TopicPartition] = sorted(consumer.assignment())
        return {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}
    finally:
        await consumer.stop()


async def test_what_was_meant_for_a_broker_s_former_life_never_reaches_the_next_whose_fence_it_would_hold_up(
    kafka_server: KafkaBroker, producers: Any
) -> None:
    watcher = EpochWatcher(make_settings(Settings, "", kafka_bootstrap=kafka_server.bootstrap))
    life = await watcher.current()

    async def is_the_same() -> None:
        if await watcher.current() != life:
            raise KafkaError("the broker is new")

    for _ in range(3):
        old = await producers(confirm_broker=is_the_same)  # each with an epoch above that of the first in a new life
    await old.publish(await burst_of(old, rows()))
    kafka_server.wipe()  # not from a thread, which its child would die with
    await ensure_topics(kafka_server.bootstrap)
    with pytest.raises(KafkaError):
        await old.publish(await burst_of(old, rows()))
    assert set((await ends_of(kafka_server.bootstrap, TOPIC)).values()) == {0}
    new = await producers()
    async with asyncio.timeout(20):
        await new.publish(await burst_of(new, rows()))
    await watcher.close()
