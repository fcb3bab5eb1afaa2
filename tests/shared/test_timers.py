"""Things that happen later: once, when due, and a faulty one delays no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shared.clock import Clock
from shared.postgres.pool import Connection, Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from shared.timers import Due, OneAtATime, Timers, cancel, schedule, schedule_many
from tests.support.databases import Databases
from tests.support.settings import make_settings

PAST = datetime(2026, 1, 1, tzinfo=UTC)
KIND = "test.remind"


class Stopped(Clock):
    """A clock that stands still, so that what is due in a second never is, however slow the machine."""

    def now(self) -> datetime:
        return PAST + timedelta(days=1)


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    await pool.execute("create table ran (key text)")
    yield pool
    await pool.close()


async def remember(conn: Connection, due: Sequence[Due], now: datetime) -> None:
    await conn.executemany("insert into ran values ($1)", [(each.key,) for each in due])


async def ran(pool: Pool) -> list[str]:
    return [row["key"] for row in await pool.fetch("select key from ran order by key")]


async def test_what_is_due_runs_once_and_the_rest_waits(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [("a", PAST, {}), ("b", PAST, {"n": 1}), ("c", later, {})])
    timers = Timers(pool, Clock(), {KIND: remember})
    assert [await timers.tick(), await timers.tick()] == [2, 0]
    assert await ran(pool) == ["a", "b"]


async def test_one_look_tells_which_kinds_have_anything_due(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [("a", PAST, {}), ("b", PAST, {})])
        await schedule(conn, "test.later", "a", later)
        await schedule(conn, "test.of_others", "a", PAST)
    timers = Timers(pool, Clock(), {KIND: remember, "test.later": remember, "test.never": remember})
    assert await timers.due() == [KIND]
    await timers.tick(KIND)
    assert await timers.due() == []


async def test_scheduling_a_key_again_replaces_it_and_a_cancelled_one_never_runs(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    async with transaction(pool) as conn:
        await schedule(conn, KIND, "a", PAST)
        await schedule(conn, KIND, "a", later)
        await schedule(conn, KIND, "b", PAST)
        await cancel(conn, KIND, ["b", "unknown"])
    assert await Timers(pool, Clock(), {KIND: remember}).tick() == 0
    assert await pool.fetchval("select due_at from timers where kind = $1", KIND) == later


async def test_workers_at_the_same_time_share_what_is_due(pool: Pool) -> None:
    keys = sorted(f"k{n:03}" for n in range(200))
    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [(key, PAST, {}) for key in keys])
    workers = [Timers(pool, Clock(), {KIND: remember}, batch=20) for _ in range(4)]
    await asyncio.gather(*[worker.tick() for worker in workers])
    assert await ran(pool) == keys


async def test_a_faulty_one_is_tried_later_and_delays_no_other(pool: Pool) -> None:
    async def picky(conn: Connection, due: Sequence[Due], now: datetime) -> None:
        await remember(conn, due, now)
        if any(each.key == "bad" for each in due):
            raise ValueError

    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [("a", PAST, {}), ("bad", PAST, {"kept": True}), ("c", PAST, {})])
    await Timers(pool, Stopped(), {KIND: picky}).tick()
    assert await ran(pool) == ["a", "c"]
    row = await pool.fetchrow(
        "select attempts, last_error, payload, due_at > $1 as later from timers where kind = $2", PAST, KIND
    )
    assert row is not None
    assert row["attempts"] >= 1  # a slow machine tries again before the tick ends
    assert (row["last_error"], row["payload"], row["later"]) == ("ValueError", {"kept": True}, True)


async def test_one_that_times_out_is_tried_later_while_the_database_answers(pool: Pool) -> None:
    async def slow(conn: Connection, due: Sequence[Due], now: datetime) -> None:
        await remember(conn, due, now)
        if any(each.key == "bad" for each in due):
            await conn.execute("select pg_sleep(5)", timeout=0.02)

    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [("a", PAST, {}), ("bad", PAST, {}), ("c", PAST, {})])
    await Timers(pool, Stopped(), {KIND: slow}).tick()
    assert await ran(pool) == ["a", "c"]
    assert await pool.fetchval("select last_error from timers where kind = $1", KIND) == "TimeoutError"


async def test_a_kind_that_is_run_singly_has_a_transaction_for_each(pool: Pool) -> None:
    committed: list[list[str]] = []

    async def slow(conn: Connection, due: Due, now: datetime) -> None:
        committed.append(await ran(pool))
        await remember(conn, [due], now)
        if due.key == "bad":
            raise ValueError

    async with transaction(pool) as conn:
        await schedule_many(conn, KIND, [(key, PAST, {}) for key in ("a", "bad", "c")])
    await Timers(pool, Stopped(), {KIND: OneAtATime(slow)}).tick()
    assert committed == [[], ["a"], ["a"]]
    assert await ran(pool) == ["a", "c"]


async def test_one_that_is_tried_again_keeps_its_trace_and_a_wrong_value_is_no_outage(pool: Pool) -> None:
    async def wrong(conn: Connection, due: Sequence[Due], now: datetime) -> None:
        await conn.execute("select $1::int", 2**40)  # asyncpg calls this an interface error

    async with transaction(pool) as conn:
        await schedule(conn, KIND, "a", PAST)
    parent = f"00-{1:032x}-{1:016x}-01"
    await pool.execute("update timers set traceparent = $1", parent)
    await Timers(pool, Stopped(), {KIND: wrong}).tick()
    row = await pool.fetchrow(
        "select attempts, traceparent, due_at > $1 as later from timers where kind = $2", PAST, KIND
    )
    assert row is not None
    assert tuple(row) == (1, parent, True)
