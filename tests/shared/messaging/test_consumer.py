"""What becomes of a batch: handled once, within bounds, with its offsets. Real Postgres; records are handed over."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.events import EnrolmentDeclined, EnrolmentRequested
from shared.ids import new_id
from shared.messaging.consumer import BATCH_BYTES
from shared.messaging.handler import Handler, Received
from shared.messaging.inbox import forget_before
from shared.messaging.offsets import applied_offsets
from shared.messaging.outbox import MAX_PAYLOAD_BYTES
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from tests.shared.consuming import Hands, consumer, counting, effects, padded, subjects
from tests.shared.records import record_of
from tests.support.backbone import requested


async def test_a_record_that_comes_again_has_no_second_effect(pool: Pool, clock: Hands) -> None:
    records = [record_of(requested()) for _ in range(5)]
    it = consumer(pool, clock, counting())
    await it.handle([*records, *records[:2]])
    await it.handle(records)
    assert await effects(pool) == subjects(*records)


async def test_what_is_older_than_a_handlers_memory_has_no_second_effect_and_a_new_handler_reads_it_all(
    pool: Pool, clock: Hands
) -> None:
    old, young = record_of(requested()), record_of(requested())
    await consumer(pool, clock, counting()).handle([old])
    await pool.execute("update inbox set handled_at = handled_at - interval '130 days'")
    since = datetime.now(UTC) + timedelta(minutes=1) - timedelta(days=120)
    await forget_before(pool, since)
    assert await pool.fetchval("select count(*) from inbox") == 0
    await pool.execute(
        "update inbox_forgotten set before = before + interval '120 days'"
    )  # as if it had been told then
    await consumer(pool, clock, counting()).handle([old])
    assert await effects(pool) == subjects(old)
    await consumer(pool, clock, counting("test.new")).handle([old, young])
    assert await effects(pool, "test.new") == subjects(old, young)


async def test_a_flood_of_the_largest_records_there_are_makes_no_transaction_larger_than_its_bounds(
    pool: Pool, clock: Hands
) -> None:
    taken: list[list[UUID]] = []

    async def apply(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
        await count(conn, events, now)
        taken.append([event.id for event in events])

    count = counting().apply
    small = [record_of(requested()) for _ in range(1500)]
    flood = [padded(record_of(requested()), MAX_PAYLOAD_BYTES) for _ in range(9)]
    records = [*small, *flood, *[record_of(requested()) for _ in range(10)]]
    sizes = {UUID(dict(record.headers)["ce_id"].decode()): len(record.value or b"") for record in records}
    handler = Handler("test.count", (EnrolmentRequested,), apply, "every_fact", effect="effects.caused_by")

    await consumer(pool, clock, handler).handle(records)

    assert await effects(pool) == subjects(*records)
    assert max(len(batch) for batch in taken) == 1000
    assert max(sum(sizes[id_] for id_ in batch) for batch in taken) <= BATCH_BYTES
    await consumer(pool, clock).handle([])  # nothing is no transaction


async def test_a_record_that_is_larger_than_a_transaction_may_be_is_handled_alone(pool: Pool, clock: Hands) -> None:
    records = [record_of(requested()), padded(record_of(requested()), BATCH_BYTES + 1), record_of(requested())]
    await consumer(pool, clock, counting()).handle(records)
    assert await effects(pool) == subjects(*records)


async def test_two_workers_with_the_same_records_have_their_effect_once(pool: Pool, clock: Hands) -> None:
    records = [record_of(requested()) for _ in range(50)]
    await asyncio.gather(*[consumer(pool, clock, counting()).handle(records) for _ in range(4)])
    assert await effects(pool) == subjects(*records)


async def test_a_record_that_another_worker_is_about_to_commit_is_waited_for(pool: Pool, clock: Hands) -> None:
    handler, record = counting(), record_of(requested())
    other = consumer(pool, clock, handler)
    async with transaction(pool) as conn:
        await conn.execute(
            "insert into inbox (handler, event_id) values ($1, $2)", handler.name,
            UUID(dict(record.headers)["ce_id"].decode()),
        )  # fmt: skip
        waiting = asyncio.create_task(other.handle([record]))
        blocked = """
            select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())
        """
        while not await pool.fetchval(blocked):
            await asyncio.sleep(0.01)
    await waiting
    assert await effects(pool) == []  # the other one has had it
    assert await pool.fetchval("select count(*) from set_aside") == 0


async def test_types_of_others_are_skipped_and_counted(pool: Pool, clock: Hands) -> None:
    declined = EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))
    it = consumer(pool, clock, counting())
    await it.handle([record_of(declined), record_of(declined)])
    await it.handle([record_of(declined)])
    await it.save_progress()
    assert await pool.fetchval("select records from inbox_skipped where type = $1", declined.type) == 3
    assert await pool.fetchval("select count(*) from set_aside") == 0


async def test_offsets_are_kept_with_the_effects_per_life_of_the_broker(pool: Pool, clock: Hands) -> None:
    it = consumer(pool, clock, counting())
    it.epoch = first = new_id()
    records = [record_of(requested()) for _ in range(3)]
    await it.handle(records)
    await it.handle(records[:1])
    it.epoch = second = new_id()
    await it.handle(records[:2])
    async with pool.acquire() as conn:
        place = EnrolmentRequested.topic, 0
        assert await applied_offsets(conn, "portal", first) == {place: records[2].offset + 1}
        assert await applied_offsets(conn, "portal", second) == {place: records[1].offset + 1}
