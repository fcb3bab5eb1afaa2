"""Of states only the newest counts, and what no producer comes to is refused. Real Postgres."""

from collections.abc import Sequence
from datetime import datetime

from shared.events import UnitState
from shared.events.envelope import MOST_FACTS
from shared.ids import new_id
from shared.messaging.handler import Handler, Received
from shared.messaging.inbox import MAX_SEQUENCE_STEP
from shared.messaging.retries import Retries
from shared.postgres.pool import Connection, Pool
from tests.shared.consuming import Hands, consumer, keeping, reasons, replay
from tests.shared.records import record_of


async def test_an_older_state_never_replaces_a_newer_one(pool: Pool, clock: Hands) -> None:
    applied: list[int] = []

    async def apply(conn: Connection, events: Sequence[Received[UnitState]], now: datetime) -> None:
        applied.extend(event.sequence for event in events)

    it = consumer(pool, clock, Handler("h", (UnitState,), apply, "latest_state"))
    unit = UnitState(unit_id=new_id(), name="Care North")
    await it.handle([record_of(unit, sequence=n) for n in (2, 4, 3)])
    await it.handle([record_of(unit, sequence=1)])
    await it.handle([record_of(unit, sequence=5)])
    assert applied == [4, 5]
    outcomes = await pool.fetch("select outcome, count(*) as n from inbox group by 1 order by 1")
    assert [tuple(row) for row in outcomes] == [("applied", 2), ("superseded", 3)]


async def test_a_state_that_no_producer_comes_to_is_refused_and_blocks_nothing_that_is_true(
    pool: Pool, clock: Hands
) -> None:
    applied: list[int] = []
    it = consumer(pool, clock, keeping(applied))
    unit = UnitState(unit_id=new_id(), name="Care North")
    await it.handle([record_of(unit, sequence=1)])
    await it.handle([record_of(unit, sequence=2**63 - 1), record_of(unit, sequence=2)])
    await it.handle([record_of(unit, sequence=2 + MAX_SEQUENCE_STEP + 1)])
    await it.handle([record_of(unit, sequence=3), record_of(unit, sequence=3 + MAX_SEQUENCE_STEP + 2)])
    assert applied == [1, 2, 3]
    assert await reasons(pool) == [("sequence_jump", None), *[("sequence_jump", "test.keep")] * 2]
    outcomes = await pool.fetch("select outcome, count(*) as n from inbox group by 1 order by 1")
    assert [tuple(row) for row in outcomes] == [("applied", 3), ("dead", 2)]


async def test_whoever_comes_late_or_was_away_for_long_takes_the_newest_state_as_before(
    pool: Pool, clock: Hands
) -> None:
    applied: list[int] = []
    it = consumer(pool, clock, keeping(applied))
    unit, other = (UnitState(unit_id=new_id(), name="Care North") for _ in range(2))
    await it.handle(
        [record_of(unit, sequence=MOST_FACTS - MAX_SEQUENCE_STEP)]
    )  # the first there is, of a compacted topic
    await it.handle([record_of(unit, sequence=MOST_FACTS)])  # what lay between is compacted away
    long_way = [record_of(other, sequence=n) for n in range(1, 4 * MAX_SEQUENCE_STEP, MAX_SEQUENCE_STEP)]
    await it.handle(long_way)  # nothing is, and each is a step from the one before
    assert applied == [MOST_FACTS - MAX_SEQUENCE_STEP, MOST_FACTS, 3 * MAX_SEQUENCE_STEP + 1]
    assert await reasons(pool) == []


async def test_a_replayed_jump_is_refused_until_others_have_come_up_to_it(pool: Pool, clock: Hands) -> None:
    applied: list[int] = []
    it = consumer(pool, clock, keeping(applied))
    unit = UnitState(unit_id=new_id(), name="Care North")
    far = MAX_SEQUENCE_STEP + 2
    await it.handle([record_of(unit, sequence=1)])
    await it.handle([record_of(unit, sequence=far)])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert (applied, await reasons(pool)) == ([1], [("sequence_jump", "test.keep")])
    await it.handle([record_of(unit, sequence=2)])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert (applied, await reasons(pool)) == ([1, 2, far], [])
    await it.handle([record_of(unit, sequence=3)])
    assert applied == [1, 2, far]


async def test_a_state_replayed_after_a_newer_one_was_applied_is_superseded(pool: Pool, clock: Hands) -> None:
    broken = True
    applied: list[int] = []

    async def apply(conn: Connection, events: Sequence[Received[UnitState]], now: datetime) -> None:
        if broken:
            raise ValueError
        applied.extend(event.sequence for event in events)

    it = consumer(pool, clock, Handler("h", (UnitState,), apply, "latest_state"))
    unit = UnitState(unit_id=new_id(), name="Care North")
    await it.handle([record_of(unit, sequence=1)])
    broken = False
    await it.handle([record_of(unit, sequence=2)])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert applied == [2]
    assert await pool.fetchval("select count(*) from set_aside") == 0
    outcomes = await pool.fetch("select outcome from inbox order by 1")
    assert [row["outcome"] for row in outcomes] == ["applied", "superseded"]
