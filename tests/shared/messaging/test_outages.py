"""What is nobody's fault is waited out: an absent dependency, a lock, a newer schema. Real Postgres."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from deploy.services import find_service
from shared.events import EnrolmentDeclined, EnrolmentRequested
from shared.messaging.consumer import Consumer
from shared.messaging.handler import Handler, Received
from shared.postgres.pool import Connection, Pool
from shared.postgres.transaction import transaction
from tests.shared.consuming import Hands, consumer, counting, effects, slow_with_the_unlucky, subjects, unlucky
from tests.shared.records import record_of
from tests.support.backbone import requested


async def test_an_absent_dependency_is_waited_for(pool: Pool, clock: Hands) -> None:
    failures = [ConnectionRefusedError(), TimeoutError()]

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        await counting().apply(conn, events, now)
        if failures:
            raise failures.pop()

    record = record_of(requested())
    await consumer(pool, clock, Handler("h", (EnrolmentRequested,), apply, "every_fact")).handle([record])
    assert await effects(pool) == subjects(record)
    assert await pool.fetchval("select count(*) from set_aside") == 0


async def test_a_lock_that_somebody_else_holds_for_long_is_waited_for_and_no_records_fault(
    pool: Pool, clock: Hands
) -> None:
    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        await conn.execute("set local lock_timeout = '20ms'")
        await conn.execute("lock table effects in exclusive mode")
        await counting().apply(conn, events, now)

    record = record_of(requested())
    it = consumer(pool, clock, Handler("test.locking", (EnrolmentRequested,), apply, "every_fact"))
    async with transaction(pool) as conn:
        await conn.execute("lock table effects in exclusive mode")
        waiting = asyncio.create_task(it.handle([record]))
        await asyncio.sleep(1)  # several tries
    await waiting
    assert await effects(pool) == subjects(record)
    assert await pool.fetchval("select count(*) from set_aside") == 0


async def test_a_statement_that_always_times_out_is_a_records_fault_while_the_database_answers(
    pool: Pool, clock: Hands
) -> None:
    records = [record_of(requested()), record_of(unlucky()), record_of(requested())]
    await consumer(pool, clock, slow_with_the_unlucky()).handle(records)
    assert await effects(pool) == subjects(records[0], records[2])
    assert await pool.fetchval("select reason from set_aside") == "handler_failed"


async def test_what_was_skipped_is_counted_once_when_an_outage_comes_while_a_batch_is_halved(
    pool: Pool, clock: Hands
) -> None:
    declined = EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))
    at_fault = record_of(requested())
    outages = 1

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        nonlocal outages
        await counting().apply(conn, events, now)
        if at_fault.offset in [event.offset for event in events]:
            if len(events) < 3 and outages:
                outages -= 1
                raise ConnectionResetError
            raise ValueError

    records = [record_of(declined), record_of(requested()), at_fault, record_of(requested())]
    handler = Handler("test.count", (EnrolmentRequested,), apply, "every_fact", effect="effects.caused_by")
    async with asyncio.timeout(20):
        await consumer(pool, clock, handler).handle(records)
    assert await pool.fetchval("select records from inbox_skipped where type = $1", declined.type) == 1
    assert outages == 0
    assert len(await effects(pool)) == 2


async def test_what_a_newer_schema_no_longer_has_is_waited_out_and_what_never_was_there_is_a_dead_letter(
    pool: Pool, clock: Hands
) -> None:
    record = record_of(requested())
    await pool.execute("alter table effects rename to effects_of_old")
    await pool.execute("insert into schema_migrations_portal (version) values ('99990101000000')")
    service = find_service("portal")
    it = Consumer(
        pool, clock, service="portal", handlers=[counting()], park_timeout=timedelta(hours=1),
        migrations=service.migrations,
    )  # fmt: skip
    waiting = asyncio.create_task(it.handle([record]))
    await asyncio.sleep(1)
    assert not waiting.done()
    assert await pool.fetchval("select count(*) from set_aside") == 0
    await pool.execute("alter table effects_of_old rename to effects")  # or a newer worker takes over
    await waiting
    assert await effects(pool) == subjects(record)
    await pool.execute("delete from schema_migrations_portal where version = '99990101000000'")
    await pool.execute("alter table effects rename to effects_of_old")
    await it.handle([record_of(requested())])
    assert await pool.fetchval("select detail from set_aside") == "test.count: UndefinedTableError"
