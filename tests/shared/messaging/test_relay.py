"""The relay by itself: which rows it takes, in which order, and whom it deposes. Real Postgres, no broker."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.events import UnitState
from shared.ids import new_id
from shared.messaging import outbox, relay
from shared.messaging.record_batches import Burst, Row
from shared.messaging.relay import LOCK, Relay, _terminate_stale_leader
from shared.postgres.pool import connect, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.support.databases import Databases
from tests.support.settings import make_settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NOBODY: Any = None  # no producer: nothing is really sent


async def test_rows_committed_while_a_burst_is_under_way_keep_the_order_of_their_aggregate(
    database: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(Settings, await database("enrolment"), relay_batch_size=3)
    pool, conn = await create_pool(settings, name="test"), await connect(settings, name="test")
    slow, others = UnitState(unit_id=new_id(), name="Slow"), [UnitState(unit_id=new_id(), name="Fast") for _ in "123"]
    sent: list[tuple[str, str]] = []
    late, release = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with transaction(pool) as slowly:
            await outbox.add(slowly, slow, now=NOW)  # numbered first, committed while the others are under way
            late.set()
            await release.wait()
        async with transaction(pool) as again:
            await outbox.add(again, slow, now=NOW)

    class Recording(Relay):
        async def _send(self, _: Any, burst: Burst) -> None:
            sent.extend((row["key"], row["headers"].rpartition(" ")[2]) for row in burst.rows)

        async def _fetch(self, conn: Any, *, under_way: Sequence[Row] = ()) -> Sequence[Row]:
            if under_way and not release.is_set():
                release.set()
                await writing
            return await super()._fetch(conn, under_way=under_way)

    async def as_it_is(_: Any, rows: Sequence[Row]) -> Burst:
        return Burst(rows, [])

    monkeypatch.setattr(relay, "burst_of", as_it_is)
    writing = asyncio.create_task(write_slowly())
    await late.wait()
    async with transaction(pool) as quickly:
        await outbox.add(quickly, *others, now=NOW)
    it = Recording(settings, service="enrolment")
    await it._drain(conn, NOBODY, until=float("inf"))
    assert [sequence for key, sequence in sent if key == slow.key] == ["1", "2"]
    assert len(sent) == it.published == 5
    await conn.close()
    await pool.close()


async def test_a_burst_holds_no_more_than_memory_has_room_for_and_the_rest_follows_at_once(
    database: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(Settings, await database("enrolment"), relay_batch_size=100)
    pool, conn = await create_pool(settings, name="test"), await connect(settings, name="test")
    async with transaction(pool) as writing:
        await outbox.add(writing, *[UnitState(unit_id=new_id(), name=f"Unit {n}") for n in range(9)], now=NOW)
        await outbox.add_tombstones(writing, UnitState, [str(new_id())], now=NOW)
    await pool.execute("update outbox set payload = repeat('x', 1000)::bytea where payload is not null")
    bursts: list[int] = []

    class Recording(Relay):
        async def _send(self, _: Any, burst: Burst) -> None:
            bursts.append(len(burst.rows))

    async def as_it_is(_: Any, rows: Sequence[Row]) -> Burst:
        return Burst(rows, [])

    monkeypatch.setattr(relay, "burst_of", as_it_is)
    monkeypatch.setattr(relay, "BURST_BYTES", 3500)
    it = Recording(settings, service="enrolment")
    await it._drain(conn, NOBODY, until=float("inf"))
    assert bursts == [4, 4, 2]
    assert it.published == 10
    await conn.close()
    await pool.close()


@pytest.mark.parametrize("acknowledges", [True, False])
async def test_a_relay_that_is_ended_marks_the_burst_that_the_broker_still_takes_and_sends_no_other(
    database: Databases, monkeypatch: pytest.MonkeyPatch, acknowledges: bool
) -> None:
    settings = make_settings(Settings, await database("enrolment"), relay_batch_size=3)
    pool, conn = await create_pool(settings, name="test"), await connect(settings, name="test")
    sent, acknowledgement = asyncio.Event(), asyncio.Event()

    class Waiting(Relay):
        async def _send(self, *_: Any) -> None:
            sent.set()
            await acknowledgement.wait()

    async def as_it_is(_: Any, rows: Sequence[Row]) -> Burst:
        return Burst(rows, [])

    monkeypatch.setattr(relay, "burst_of", as_it_is)
    monkeypatch.setattr(relay, "LAST_BURST_SECONDS", 0.5)
    async with transaction(pool) as changing:
        await outbox.add(changing, *[UnitState(unit_id=new_id(), name=f"Unit {n}") for n in range(8)], now=NOW)
    it = Waiting(settings, service="enrolment")
    draining = asyncio.create_task(it._drain_gracefully(conn, NOBODY, until=float("inf")))
    await sent.wait()
    await asyncio.sleep(0.1)  # the next burst is made meanwhile
    draining.cancel()
    if acknowledges:
        asyncio.get_running_loop().call_later(0.1, acknowledgement.set)
    async with asyncio.timeout(5):
        await asyncio.wait([draining])
    assert draining.cancelled()
    marked = await pool.fetch("select seq from outbox where published_at is not null order by seq")
    assert [row["seq"] for row in marked] == ([1, 2, 3] if acknowledges else [])
    await conn.close()
    await pool.close()


async def test_a_leaders_marks_do_not_wait_for_the_disk_and_everybody_elses_changes_do(
    database: Databases,
) -> None:
    settings = make_settings(Settings, await database("enrolment"))
    waits: dict[str, str] = {}

    class Leading(Relay):
        async def _lead(self, conn: Any, *, after_unclean_end: bool) -> None:
            assert not after_unclean_end
            waits["leader"] = await conn.fetchval("show synchronous_commit")

    await Leading(settings, service="enrolment")._acquire_leadership()
    async with await create_pool(settings, name="test") as pool:
        waits["pool"] = await pool.fetchval("show synchronous_commit")
    timers = await connect(settings, name="test")
    waits["another"] = await timers.fetchval("show synchronous_commit")
    await timers.close()
    assert waits == {"leader": "off", "pool": "on", "another": "on"}


async def test_how_often_the_outbox_is_vacuumed_does_not_depend_on_how_much_of_it_is_kept(database: Databases) -> None:
    """Each look of the relay walks past what was marked since."""
    async with await create_pool(make_settings(Settings, await database("enrolment")), name="test") as pool:
        found = await pool.fetch(
            """
            select option_name, option_value::float from pg_options_to_table(
                (select reloptions from pg_class where oid = 'outbox'::regclass))
            """
        )
    options = dict(tuple(row) for row in found)
    kept, marked = 10_000_000, 10_000
    due = options["autovacuum_vacuum_threshold"] + options["autovacuum_vacuum_scale_factor"] * kept
    assert due <= marked


async def test_a_leader_that_waits_for_postgres_is_not_deposed_and_one_that_does_nothing_is(
    database: Databases,
) -> None:
    settings = make_settings(Settings, await database("enrolment"))
    leader, rival = await connect(settings, name="test"), await connect(settings, name="test")
    await leader.fetchval("select pg_try_advisory_lock($1)", LOCK)
    await leader.execute("insert into relay_leader values (true, pg_backend_pid(), 1, now() - interval '1 minute')")
    working = asyncio.create_task(leader.execute("select pg_sleep(2)"))
    await asyncio.sleep(0.5)
    await _terminate_stale_leader(rival)
    await working
    assert not leader.is_closed()
    await _terminate_stale_leader(rival)
    async with asyncio.timeout(10):
        while not leader.is_closed():
            await asyncio.sleep(0.05)
    await rival.close()
