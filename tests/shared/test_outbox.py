"""Rows on their way: numbered without gaps, committed with the change, kept as long as somebody may need them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from shared import outbox
from shared.db import Pool, create_pool, transaction
from shared.events import EnrolmentDeclined, ProgrammePublished, UnitState
from shared.events.enrolment import Milestone, Title
from shared.ids import new_id
from shared.settings import Settings
from tests.support.backbone import requested
from tests.support.databases import Databases
from tests.support.settings import make_settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("portal"), database_pool_size=20), name="test")
    yield pool
    await pool.close()


async def test_an_aggregates_events_are_numbered_from_one_without_gaps_whoever_writes(pool: Pool) -> None:
    first, second = requested(), requested()
    declined = EnrolmentDeclined(**first.model_dump(exclude={"approve_before"}))

    async def write(number: int) -> None:
        try:
            async with transaction(pool) as conn:
                await outbox.add(conn, first, second, declined, now=NOW)
                if number % 3 == 0:
                    raise RuntimeError
        except RuntimeError:
            pass

    await asyncio.gather(*[write(number) for number in range(30)])
    for event, expected in ((first, 40), (second, 20)):
        rows = await pool.fetch("select headers from outbox where subject = $1 order by seq", event.subject)
        assert [int(row["headers"].rpartition("ce_sequence: ")[2]) for row in rows] == list(range(1, expected + 1))


async def test_an_event_is_gone_with_its_change(pool: Pool) -> None:
    async def change() -> None:
        async with transaction(pool) as conn:
            await outbox.add(conn, requested(), now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change()
    assert await pool.fetchval("select count(*) from outbox") == 0


async def test_an_event_too_large_for_kafka_is_refused_where_it_is_made(pool: Pool) -> None:
    title = Title(sv="s" * 200, en="e" * 200)
    milestones = tuple(Milestone(key=f"m{n}", title=title, practices=()) for n in range(100))
    event = ProgrammePublished(programme_id=new_id(), version=1, title=title, milestones=milestones)
    big = event.model_copy(update={"milestones": milestones * 30})
    with pytest.raises(outbox.EventTooLargeError):
        async with transaction(pool) as conn:
            await outbox.add(conn, big, now=NOW)


async def test_of_old_rows_the_unpublished_and_each_keys_newest_state_are_kept(pool: Pool) -> None:
    unit = UnitState(unit_id=new_id(), name="Care North")
    async with transaction(pool) as conn:
        await outbox.add(conn, unit, requested(), unit, now=NOW)
        await outbox.add_tombstones(conn, UnitState, ["gone"], now=NOW)
    await pool.execute("update outbox set published_at = $1", NOW)
    async with transaction(pool) as conn:
        waiting = requested()
        await outbox.add(conn, waiting, now=NOW)
        await outbox.prune(conn, NOW + timedelta(days=1))
    rows = await pool.fetch("select subject, payload is null as tombstone from outbox order by seq")
    assert [tuple(row) for row in rows] == [(unit.subject, False), ("gone", True), (waiting.subject, False)]
