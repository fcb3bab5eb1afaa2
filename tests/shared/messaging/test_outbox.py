"""Rows on their way: numbered without gaps, committed with the change, kept as long as somebody may need them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.events import EnrolmentDeclined, ProgrammePublished, UnitState
from shared.events.enrolment import Milestone, Title
from shared.ids import new_id
from shared.messaging import inbox, outbox
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.support.backbone import requested
from tests.support.databases import Databases
from tests.support.settings import make_settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


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
    await outbox.prune(pool, datetime.now(UTC) + timedelta(days=1))
    rows = await pool.fetch("select subject, payload is null as tombstone from outbox order by seq")
    assert [tuple(row) for row in rows] == [(unit.subject, False), ("gone", True), (waiting.subject, False)]


async def test_old_rows_go_a_few_at_a_time_beside_newer_ones_and_those_that_stay(pool: Pool) -> None:
    async with transaction(pool) as conn:
        for name in "ABC":  # the newest of its key: nothing of the first chunk may go, and that is not the end
            await outbox.add(conn, UnitState(unit_id=new_id(), name=name), now=NOW)
        await outbox.add(conn, *[requested() for _ in range(20)], now=NOW)
    await pool.execute("update outbox set created_at = $1, published_at = $1", LONG_AGO)
    async with transaction(pool) as conn:
        await outbox.add(conn, requested(), now=NOW)
    await pool.execute("update outbox set published_at = now() where published_at is null")
    await log_deletes(pool, "outbox")
    await outbox.prune(pool, LONG_AGO + timedelta(days=1), chunk=3)
    assert await pool.fetchval("select count(*) from outbox") == 4
    assert await pool.fetchval("select (sum(rows), max(rows), count(distinct xid))::text from deletes") == "(20,3,8)"


async def test_old_ids_of_the_inbox_go_a_few_at_a_time_but_never_those_set_aside(pool: Pool) -> None:
    await pool.execute(
        """
        insert into inbox (handler, event_id, outcome, handled_at)
        select 'h', gen_random_uuid(), case n when 5 then 'dead' when 6 then 'parked' else 'applied' end,
               case n when 12 then now() else $1 end
        from generate_series(1, 12) as n
        """,
        LONG_AGO,
    )
    await log_deletes(pool, "inbox")
    await inbox.forget_before(pool, LONG_AGO + timedelta(days=1), chunk=3)
    left = await pool.fetch("select outcome from inbox order by outcome")
    assert [row["outcome"] for row in left] == ["applied", "dead", "parked"]
    assert await pool.fetchval("select (sum(rows), max(rows), count(distinct xid))::text from deletes") == "(9,3,4)"


async def log_deletes(pool: Pool, table: str) -> None:
    """Have Postgres write down how many rows each delete took, and in which transaction."""
    await pool.execute(
        f"""
        create table deletes (xid xid8, rows bigint);
        create function log_delete() returns trigger language plpgsql as $$
        begin insert into deletes select pg_current_xact_id(), count(*) from gone; return null; end $$;
        create trigger log_delete after delete on {table} referencing old table as gone
            for each statement execute function log_delete();
        """
    )
