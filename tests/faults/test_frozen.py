"""A relay is frozen with a burst in hand, for a while or for longer than Kafka remembers it, and thaws."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced
from aiokafka.protocol.produce import ProduceRequest

from deploy.embedded.kafka import KafkaBroker, KafkaUnavailableError
from shared.messaging.record_batches import burst_of
from shared.messaging.relay_producer import RelayProducer
from shared.messaging.topic_admin import ensure_topics
from shared.settings import KafkaSettings
from tests.faults.frozen import (
    OlderAfterNewerError,
    change_all_units,
    freeze_with_a_burst_in_hand,
    replace,
    thaw_and_judge,
    until_published,
)
from tests.faults.stage import PUBLISHER, stage
from tests.support.databases import Databases
from tests.support.log_ends import ends_of
from tests.support.outbox_rows import TOPIC, rows
from tests.support.skipping import skip

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]
FORGETS_SECONDS = 3
DAY = 86_400


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Kafka that compacts at once, and forgets in seconds what it otherwise does in a week, a day, or ten minutes."""
    server = KafkaBroker(
        tmp_path_factory.mktemp("kafka"),
        settings={
            "log.cleaner.backoff.ms": 300,
            "producer.id.expiration.ms": FORGETS_SECONDS * 1000,
            "producer.id.expiration.check.interval.ms": 200,
            "connections.max.idle.ms": FORGETS_SECONDS * 1000,
            "transactional.id.expiration.ms": FORGETS_SECONDS * 1000,
            "transaction.remove.expired.transaction.cleanup.interval.ms": 500,
        },
    )
    try:
        server.start()
    except KafkaUnavailableError as missing:
        skip(str(missing))
    yield server
    server.child.kill()


@pytest.fixture(scope="module")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    server = KafkaBroker(tmp_path_factory.mktemp("kafka"), settings={"log.cleaner.backoff.ms": 300})
    try:
        server.start()
    except KafkaUnavailableError as missing:
        skip(str(missing))
    yield server
    server.child.kill()


async def play(kafka: KafkaBroker, databases: Databases, directory: Path, variant: str, frozen_for: float = 0) -> None:
    async with stage(kafka, databases, directory) as ground:
        frozen = await freeze_with_a_burst_in_hand(ground, variant)
        await replace(ground)
        await asyncio.sleep(frozen_for)
        await thaw_and_judge(ground, frozen)


async def test_what_a_frozen_relay_has_in_hand_does_not_land_behind_its_successors_records(
    kafka_server: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    await play(kafka_server, database, tmp_path, "freezes-with-a-burst-in-hand")


async def test_it_does_not_land_when_it_thaws_after_kafka_has_forgotten_whom_to_refuse(
    forgetful: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    await play(forgetful, database, tmp_path, "freezes-with-a-burst-in-hand", frozen_for=3 * FORGETS_SECONDS)


async def test_it_does_not_land_when_the_answer_that_it_leads_is_as_old_as_the_freeze(
    forgetful: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    await play(forgetful, database, tmp_path, "freezes-while-it-asks", frozen_for=3 * FORGETS_SECONDS)


async def test_a_leader_that_kafka_has_forgotten_goes_on(
    forgetful: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    async with stage(forgetful, database, tmp_path) as ground:
        ground.start(PUBLISHER)
        await change_all_units(ground, "before")
        await until_published(ground)
        await asyncio.sleep(3 * FORGETS_SECONDS)
        await change_all_units(ground, "after")
        await ground.write(40)  # these go to a topic that is first written to now
        await until_published(ground)
        assert await ground.term() == 1


async def test_these_tests_notice_a_relay_without_a_fence(
    kafka_server: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    with pytest.raises(OlderAfterNewerError):
        await play(kafka_server, database, tmp_path, "freezes-and-has-no-fence")


async def test_these_tests_notice_a_relay_that_does_not_ask_whether_it_leads(
    forgetful: KafkaBroker, database: Databases, tmp_path: Path
) -> None:
    with pytest.raises(OlderAfterNewerError):
        await play(forgetful, database, tmp_path, "freezes-and-never-asks", frozen_for=3 * FORGETS_SECONDS)


async def test_a_predecessor_is_refused_while_rows_are_under_way_that_are_too_old_for_kafka_to_remember_who_wrote_them(
    forgetful: KafkaBroker,
) -> None:
    await ensure_topics(forgetful.bootstrap)
    settings: Any = KafkaSettings(kafka_bootstrap=forgetful.bootstrap)
    async with AsyncExitStack() as stack:

        async def started() -> RelayProducer:
            producer = RelayProducer(settings, service="old-rows", confirm_leadership=leads, confirm_broker=leads)
            stack.push_async_callback(producer.stop)
            await producer.start()
            return producer

        old = await started()
        await old.fence({TOPIC})
        in_hand = await burst_of(old, rows())
        new = await started()
        await new.fence({TOPIC})
        _delay_everything_but_records(new._fence)
        before = await ends_of(forgetful.bootstrap, TOPIC)
        sending = asyncio.create_task(new.publish(await burst_of(new, rows(age=2 * DAY))))
        while sum((await ends_of(forgetful.bootstrap, TOPIC)).values()) < sum(before.values()) + 40:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.6)  # Kafka looks every 0.2 s for what to forget
        with pytest.raises(ProducerFenced):
            await old.publish(in_hand)
        await sending


async def leads() -> None:
    return


def _delay_everything_but_records(producer: Any) -> None:
    """As a slow network would."""
    send = producer.client.send

    async def slowly(node_id: Any, request: Any, **options: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            await asyncio.sleep(1)
        return await send(node_id, request, **options)

    producer.client.send = slowly
