"""outbox -> relay -> broker -> consumer -> handler -> effect, on the memory broker and on Apache Kafka."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from deploy.embedded.process import free_port
from shared.db import Pool
from shared.events import EnrolmentDeclined, EnrolmentRequested
from shared.inbox import Handler
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
            await asyncio.sleep(0.5)  # Kafka is told a moment after the database
        restored = await asyncpg.connect(consuming.database_url)
        await restored.execute("truncate effects, inbox, inbox_offsets")
        await restored.close()
        async with running(consuming, "portal", [handler]) as consumer:
            await until(handled)
            doubled = "select count(*) from (select from effects group by caused_by having count(*) > 1) as twice"
            assert await consumer.fetchval(doubled) == 0
