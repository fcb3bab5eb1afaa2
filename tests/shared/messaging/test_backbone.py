"""outbox -> relay -> broker -> consumer -> handler -> effect, on the memory broker and on Apache Kafka."""

import asyncio
import gc
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID
from weakref import ReferenceType, ref

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.embedded.process import free_port
from shared.clock import Clock
from shared.events import EnrolmentDeclined, EnrolmentRequested
from shared.messaging import subscription
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler, Record
from shared.messaging.subscription import COMMIT_SECONDS, STALL_SECONDS, STUCK_SECONDS, Subscription
from shared.messaging.topic_admin import ensure_topics
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.support.backbone import count_effects, publish, requested, running, until
from tests.support.databases import Databases
from tests.support.settings import make_settings


@pytest.fixture(params=["tansu", "apache"])
def backbone(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """Bootstrap address, and whether the broker knows transactions."""
    if request.param == "tansu":
        return request.getfixturevalue("broker"), False
    return request.getfixturevalue("kafka"), True


async def test_an_event_written_in_one_service_has_its_effect_in_another_once(
    backbone: tuple[str, bool], database: Databases
) -> None:
    bootstrap, transactions = backbone
    common = {"kafka_bootstrap": bootstrap, "kafka_transactions": transactions}
    producing = make_settings(Settings, await database("enrolment"), port=free_port(), **common)
    consuming = make_settings(Settings, await database("portal"), port=free_port(), **common)
    handler = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact", effect="effects.caused_by")
    events = [requested() for _ in range(250)]
    unheard = EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))
    async with running(producing, "enrolment") as producer, running(consuming, "portal", [handler]) as consumer:
        ids = await publish(producer, [*events, unheard])

        async def handled() -> bool:
            skipped = await consumer.fetchval("select count(*) from inbox_skipped where type = $1", unheard.type)
            mine = "select count(*) from inbox where event_id = any($1::uuid[])"  # other tests' events are on Kafka too
            return bool(skipped == 1 and await consumer.fetchval(mine, ids) >= len(events))

        await until(handled)
        rows = await consumer.fetch("select * from effects where caused_by = any($1::uuid[])", ids)
        assert sorted(row["caused_by"] for row in rows) == sorted(ids[:-1])
        assert {(row["subject"], row["key"]) for row in rows} == {(e.subject, e.subject) for e in events}
        assert {row["sequence"] for row in rows} == {1}
        assert await producer.fetchval("select count(*) from outbox where published_at is null") == 0
        assert await consumer.fetchval("select count(*) from set_aside") == 0


async def test_a_database_restored_to_an_earlier_moment_handles_what_came_since_though_kafka_knows_later_offsets(
    kafka: str, database: Databases
) -> None:
    producing = make_settings(Settings, await database("enrolment"), port=free_port(), kafka_bootstrap=kafka)
    consuming = make_settings(Settings, await database("portal"), port=free_port(), kafka_bootstrap=kafka)
    handler = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact", effect="effects.caused_by")

    async def effects(pool: Pool) -> set[UUID]:
        if not await pool.fetchval("select to_regclass('effects') is not null"):
            return set()
        return {row["caused_by"] for row in await pool.fetch("select caused_by from effects")}

    async with running(producing, "enrolment") as producer:
        ids = set(await publish(producer, [requested() for _ in range(200)]))
        async with running(consuming, "portal", [handler]) as consumer:

            async def handled() -> bool:
                return ids <= await effects(consumer)

            await until(handled)
            position = "select sum(next_offset) from inbox_offsets where topic = $1"
            assert await told_to_kafka(kafka) == await consumer.fetchval(position, EnrolmentRequested.topic)
        restored = await asyncpg.connect(consuming.database_url)
        await restored.execute("truncate effects, inbox, inbox_offsets")
        await restored.close()
        async with running(consuming, "portal", [handler]) as consumer:
            await until(handled)
            doubled = "select count(*) from (select from effects group by caused_by having count(*) > 1) as twice"
            assert await consumer.fetchval(doubled) == 0


async def test_records_that_come_after_an_idle_while_do_not_make_a_consumer_stuck(
    database: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(Settings, await database("portal"))
    pool = await create_pool(settings, name="test")
    consumer = Consumer(pool, Clock(None), service="portal", handlers=[], park_timeout=timedelta(hours=1))

    class Watched(Subscription):
        waiting = 0

        async def lag(self) -> int | None:
            return self.waiting

    moment = 1000.0
    monkeypatch.setattr(subscription, "time", SimpleNamespace(monotonic=lambda: moment))
    it = Watched(settings, pool, consumer)
    moment += STALL_SECONDS + 1
    it.waiting = 7  # they came just now
    assert not await it._stuck()
    moment += STUCK_SECONDS - 1
    assert not await it._stuck()
    moment += 1
    assert await it._stuck()
    it._progress = moment  # a batch was handled
    assert not await it._stuck()
    moment += STALL_SECONDS + 1
    assert not await it._stuck(), "and from there on it begins anew"
    await pool.close()


async def told_to_kafka(bootstrap: str) -> int:
    """The sum of the offsets that the portal's group has committed, once they stand still."""
    client = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="medled.portal", enable_auto_commit=False)
    await client.start()
    try:
        before, now = -1, 0
        while before != now or not now:
            await asyncio.sleep(COMMIT_SECONDS * 1.5)
            committed = [
                await client.committed(TopicPartition(EnrolmentRequested.topic, number)) for number in range(6)
            ]
            before, now = now, sum(offset or 0 for offset in committed)
        return now
    finally:
        await client.stop()


async def test_records_are_let_go_when_they_are_handled_not_when_the_collector_comes(
    kafka: str, database: Databases
) -> None:
    producing = make_settings(Settings, await database("enrolment"), port=free_port(), kafka_bootstrap=kafka)
    consuming = make_settings(Settings, await database("portal"), kafka_bootstrap=kafka)
    seen: list[list[ReferenceType[Record]]] = []

    class Watched(Consumer):
        async def handle(self, records: Sequence[Record]) -> None:
            seen.append([ref(record) for record in records])
            await super().handle(records)

    handler = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact")
    async with running(producing, "enrolment") as producer, await create_pool(consuming, name="test") as pool:
        consumer = Watched(pool, Clock(None), service="portal", handlers=[handler], park_timeout=timedelta(hours=1))
        gc.disable()
        subscription = asyncio.create_task(Subscription(consuming, pool, consumer).run())
        try:
            for _ in range(3):  # each time one batch more: what other tests have published comes too
                before = consumer.handled
                await publish(producer, [requested() for _ in range(20)])
                await until(partial(_has_handled, consumer, before + 20))
            held = [record() for record in chain(*seen[:-1]) if record() is not None]
        finally:
            gc.enable()
            subscription.cancel()
            await asyncio.wait([subscription])
    assert len(seen) > 1
    assert held == []


async def _has_handled(consumer: Consumer, records: int) -> bool:
    return consumer.handled >= records


async def test_what_faststream_fetches_with_is_our_own_fetch(kafka: str, database: Databases) -> None:
    """Its own would sleep after an empty fetch, whatever arrives meanwhile."""
    taken: list[int] = []

    class Watched(Subscription):
        async def _fetch(self, client: AIOKafkaConsumer) -> tuple[Record, ...]:
            records = await super()._fetch(client)
            taken.append(len(records))
            return records

    producing = make_settings(Settings, await database("enrolment"), port=free_port(), kafka_bootstrap=kafka)
    settings = make_settings(Settings, await database("portal"), kafka_bootstrap=kafka)
    pool = await create_pool(settings, name="test")
    handler = Handler("test.count", (EnrolmentRequested,), count_effects, "every_fact", effect="effects.caused_by")
    consumer = Consumer(pool, Clock(None), service="portal", handlers=[handler], park_timeout=timedelta(hours=1))
    subscribed = asyncio.create_task(Watched(settings, pool, consumer).run())
    try:
        async with running(producing, "enrolment") as producer:
            await publish(producer, [requested()])

            async def taken_over() -> bool:
                return sum(taken) >= consumer.handled > 0  # what was fetched before it went to its place comes again

            await until(taken_over)
    finally:
        subscribed.cancel()
        await asyncio.gather(subscribed, return_exceptions=True)
        await pool.close()


async def test_a_worker_for_whom_no_partition_is_left_is_ready_and_takes_over_when_the_other_ends(
    kafka: str, database: Databases, tmp_path: Path
) -> None:
    declared = tmp_path / "topics.yaml"
    declared.write_text("test.single.v1: {carries: one partition for two workers, partitions: 1}")
    await ensure_topics(kafka, file=declared)
    settings = make_settings(Settings, await database("portal"), kafka_bootstrap=kafka)
    pool = await create_pool(settings, name="test")

    def subscription(topic: str = "test.single.v1") -> Subscription:
        consumer = Consumer(pool, Clock(None), service="test", handlers=[], park_timeout=timedelta(hours=1))
        consumer.topics = [topic]
        return Subscription(settings, pool, consumer)

    working, spare, astray = subscription(), subscription(), subscription("test.not-there.v1")
    tasks = [asyncio.create_task(each.run()) for each in (working, spare, astray)]
    try:

        async def both_are_ready() -> bool:
            return working.ready and spare.ready

        await until(both_are_ready)
        assert sorted([await working.lag() is None, await spare.lag() is None]) == [False, True]
        assert not astray.ready
        holder, other = (spare, working) if await working.lag() is None else (working, spare)
        ending = tasks[(working, spare).index(holder)]
        ending.cancel()
        await asyncio.wait([ending])
        assert not holder.ready

        async def is_taken_over() -> bool:
            return other.ready and await other.lag() is not None

        await until(is_taken_over)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pool.close()
