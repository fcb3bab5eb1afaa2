"""What was set aside is tried again: what waits for its parent, and what an operator replays. Real Postgres."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.events import EnrolmentRequested
from shared.messaging.dead_letters import Owner, dead_letter
from shared.messaging.handler import Handler, Received, Unapplied
from shared.messaging.retries import Retries
from shared.postgres.pool import Connection, Pool
from tests.shared.consuming import Hands, consumer, counting, effects, replay, slow_with_the_unlucky, unlucky, waiting
from tests.shared.records import raw_record, record_of
from tests.support.backbone import requested


async def test_a_record_waits_for_its_parent_and_is_handled_once_it_is_there(pool: Pool, clock: Hands) -> None:
    known: set[str] = set()
    orphan = requested()
    it = consumer(pool, clock, waiting(known))
    await it.handle([record_of(orphan)])
    clock.moment += timedelta(seconds=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert await effects(pool) == []
    known.add(str(orphan.cohort_id))
    clock.moment += timedelta(minutes=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert await effects(pool) == [orphan.subject]
    assert await pool.fetchval("select count(*) from set_aside") == 0
    assert await pool.fetchval("select outcome from inbox") == "applied"


async def test_a_parent_that_never_comes_ends_in_a_dead_letter_which_can_be_replayed(pool: Pool, clock: Hands) -> None:
    known: set[str] = set()
    orphan = requested()
    it = consumer(pool, clock, waiting(known))
    await it.handle([record_of(orphan)])
    clock.moment += timedelta(hours=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert await pool.fetchval("select (state, reason)::text from set_aside") == "(dead,parent_never_came)"
    assert await pool.fetchval("select outcome from inbox") == "dead"
    known.add(str(orphan.cohort_id))
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert await effects(pool) == [orphan.subject]


async def test_a_parked_record_that_times_out_once_is_tried_again_later(pool: Pool, clock: Hands) -> None:
    known: set[str] = set()
    slow = True

    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> Sequence[Unapplied]:
        if slow and known:
            await conn.execute("select pg_sleep(5)", timeout=0.02)
        return list(await waiting(known).apply(conn, events, now) or ())

    orphan = requested()
    it = consumer(pool, clock, Handler("test.count", (EnrolmentRequested,), apply, "every_fact"))
    await it.handle([record_of(orphan)])
    known.add(str(orphan.cohort_id))
    clock.moment += timedelta(minutes=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert await pool.fetchval("select (state, detail)::text from set_aside") == '(parked,"it took too long")'
    slow = False
    clock.moment += timedelta(minutes=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert await effects(pool) == [orphan.subject]


async def test_a_replayed_record_that_no_handler_was_blamed_for_may_wait_for_its_parent(
    pool: Pool, clock: Hands
) -> None:
    known: set[str] = set()
    orphan = requested()
    it = consumer(pool, clock, waiting(known), counting("test.other"))
    record = record_of(orphan)
    place = Owner("portal", it.epoch)
    async with pool.acquire() as conn:
        await dead_letter(conn, record, place, reason="handler_failed", detail="", attempts=1, now=clock.now())
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert (await effects(pool), await effects(pool, "test.other")) == ([], [orphan.subject])
    known.add(str(orphan.cohort_id))
    clock.moment += timedelta(seconds=2)
    assert await Retries(pool, clock, it).tick() == 1
    assert (await effects(pool), await effects(pool, "test.other")) == ([orphan.subject], [orphan.subject])
    assert await pool.fetchval("select count(*) from set_aside") == 0


async def test_a_replay_that_fails_again_is_a_dead_letter_again_and_others_go_on(pool: Pool, clock: Hands) -> None:
    it = consumer(pool, clock, counting(fails=True))
    await it.handle([record_of(unlucky()), record_of(unlucky())])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 2
    rows = await pool.fetch("select state, attempts from set_aside")
    assert [tuple(row) for row in rows] == [("dead", 4), ("dead", 4)]
    assert await effects(pool) == []


async def test_a_replay_that_times_out_again_is_a_dead_letter_again_and_holds_up_no_other(
    pool: Pool, clock: Hands
) -> None:
    it = consumer(pool, clock, slow_with_the_unlucky())
    await it.handle([record_of(unlucky()), record_of(unlucky())])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 2
    assert await pool.fetchval("select array_agg(state) from set_aside") == ["dead", "dead"]


async def test_a_replay_that_still_cannot_be_read_keeps_the_reason_why(pool: Pool, clock: Hands) -> None:
    headers = record_of(requested()).headers
    foreign = [(name, b"com.example.thing.v1" if name == "ce_type" else value) for name, value in headers]
    it = consumer(pool, clock, counting())
    topic = EnrolmentRequested.topic
    await it.handle([raw_record(topic, b"k", b"{}", headers), raw_record(topic, b"k", b"{}", foreign)])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 2
    rows = await pool.fetch('select state, reason, handler from set_aside order by "offset"')
    assert [tuple(row) for row in rows] == [("dead", "undecodable", None), ("dead", "foreign", None)]
    assert await pool.fetchval("select count(*) from outbox where headers like '%dl_reason: handler_failed%'") == 0


async def test_a_replay_refused_at_commit_does_not_quote_what_was_written(pool: Pool, clock: Hands) -> None:
    record = record_of(unlucky())
    await consumer(pool, clock, counting(fails=True)).handle([record])
    await pool.execute("create table parents (id text primary key)")
    await pool.execute("alter table effects add foreign key (subject) references parents deferrable initially deferred")
    await replay(pool, clock)
    assert await Retries(pool, clock, consumer(pool, clock, counting())).tick() == 1
    [aside] = await pool.fetch("select state, reason, detail from set_aside")
    assert tuple(aside) == ("dead", "handler_failed", "the transaction: ForeignKeyViolationError")


async def test_a_replay_for_a_handler_that_is_gone_says_so(pool: Pool, clock: Hands) -> None:
    await consumer(pool, clock, counting("test.old", fails=True)).handle([record_of(unlucky())])
    await replay(pool, clock)
    assert await Retries(pool, clock, consumer(pool, clock, counting())).tick() == 1
    [aside] = await pool.fetch("select state, reason, detail from set_aside")
    assert tuple(aside) == ("dead", "handler_failed", "no handler is called test.old any more")
