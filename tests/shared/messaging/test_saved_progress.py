"""Records that nobody here takes: no transaction for each batch of them, and yet none is missed or counted twice."""

import asyncpg
import pytest

from shared.events import EnrolmentDeclined
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Record
from shared.messaging.offsets import applied_offsets
from shared.postgres.pool import Pool
from tests.shared.consuming import Hands, consumer, counting
from tests.shared.records import record_of
from tests.support.backbone import requested


def not_taken() -> Record:
    return record_of(EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"})))


async def saved_offsets(pool: Pool, it: Consumer) -> dict[tuple[str, int], int]:
    async with pool.acquire() as conn:
        return await applied_offsets(conn, "portal", it.epoch)


async def skipped(pool: Pool) -> int:
    return int(await pool.fetchval("select coalesce(sum(records), 0) from inbox_skipped"))


async def test_what_nobody_here_takes_needs_no_transaction_and_is_saved_with_the_next_that_does(
    pool: Pool, clock: Hands
) -> None:
    passed, taken = not_taken(), record_of(requested())
    it = consumer(pool, clock, counting())
    await it.handle([passed])
    assert await saved_offsets(pool, it) == {}
    await it.handle([taken])
    assert await skipped(pool) == 1
    assert await saved_offsets(pool, it) == {(taken.topic, taken.partition): taken.offset + 1}
    await it.save_progress()
    assert await skipped(pool) == 1


async def test_a_process_that_dies_before_it_saved_what_it_passed_over_has_counted_none_of_it(
    pool: Pool, clock: Hands
) -> None:
    declined = not_taken()
    await consumer(pool, clock, counting()).handle([declined])
    next_one = consumer(pool, clock, counting())
    await next_one.handle([declined])  # from where the database stands
    await next_one.save_progress()
    assert await skipped(pool) == 1


async def test_what_was_passed_over_is_saved_once_though_the_database_refused_it_before(
    pool: Pool, clock: Hands
) -> None:
    declined = not_taken()
    it = consumer(pool, clock, counting())
    await it.handle([declined])
    await pool.execute("alter table inbox_offsets rename to away")
    with pytest.raises(asyncpg.UndefinedTableError):
        await it.save_progress()
    await pool.execute("alter table away rename to inbox_offsets")
    await it.save_progress()
    await it.save_progress()
    assert await skipped(pool) == 1
    assert await saved_offsets(pool, it) == {(declined.topic, declined.partition): declined.offset + 1}


async def test_what_was_passed_over_is_no_longer_saved_by_who_lost_the_partition(pool: Pool, clock: Hands) -> None:
    it = consumer(pool, clock, counting())
    await it.handle([not_taken()])
    it.forget_progress()
    await it.handle([record_of(requested())])
    await it.save_progress()
    assert await skipped(pool) == 0
