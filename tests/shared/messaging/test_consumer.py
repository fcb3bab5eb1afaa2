"""What becomes of a batch: handled once, halved, parked or set aside. Real Postgres; the records are handed over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from deploy.services import find_service
from shared.clock import Clock
from shared.events import AccessState, EnrolmentDeclined, EnrolmentRequested, PrincipalKind, UnitState
from shared.events.envelope import MOST_FACTS
from shared.ids import new_id
from shared.messaging.consumer import BATCH_BYTES, Consumer
from shared.messaging.dead_letters import Owner, dead_letter
from shared.messaging.dispatch import Handlers
from shared.messaging.handler import Handler, Parked, Received, Record, Rejected, Unapplied
from shared.messaging.inbox import MAX_SEQUENCE_STEP, forget_before
from shared.messaging.offsets import applied_offsets
from shared.messaging.outbox import MAX_PAYLOAD_BYTES
from shared.messaging.retries import Retries
from shared.postgres.pool import Connection, Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from tests.shared.records import raw_record, record_of
from tests.support.backbone import requested
from tests.support.databases import Databases
from tests.support.settings import make_settings

UNLUCKY = UUID(int=13)


class Hands(Clock):
    """A clock that the test turns."""

    def __init__(self) -> None:
        super().__init__(None)
        self.moment = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    pool = await create_pool(make_settings(Settings, await database("portal")), name="test")
    await pool.execute("create table effects (handler text, caused_by uuid, subject text, sequence bigint)")
    yield pool
    await pool.close()


@pytest.fixture
def clock() -> Hands:
    return Hands()


def consumer(pool: Pool, clock: Clock, *handlers: Handler) -> Consumer:
    return Consumer(pool, clock, service="portal", handlers=handlers, park_timeout=timedelta(hours=1))


def counting(name: str = "test.count", *, fails: bool = False) -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime) -> None:
        await conn.executemany(
            "insert into effects values ($1, $2, $3, $4)", [(name, e.id, e.subject, e.sequence) for e in events]
        )
        if fails and any(event.data.cohort_id == UNLUCKY for event in events):
            raise ValueError("an unlucky cohort")

    return Handler(name, (EnrolmentRequested,), apply, "every_fact", effect="effects.caused_by")


def unlucky() -> EnrolmentRequested:
    return requested().model_copy(update={"cohort_id": UNLUCKY})


async def effects(pool: Pool, handler: str = "test.count") -> list[str]:
    rows = await pool.fetch("select subject from effects where handler = $1 order by subject", handler)
    return [row["subject"] for row in rows]


async def replay(pool: Pool, clock: Hands) -> None:
    """Put every dead letter back to be tried, as an operator does."""
    await pool.execute("update set_aside set state = 'parked', retry_at = $1, expires_at = $1", clock.now())


def subjects(*records: Any) -> list[str]:
    return sorted(dict(record.headers)["ce_subject"].decode() for record in records)


def padded(record: Record, size: int) -> Record:
    """The same event in so many bytes: fields that a consumer does not know are ignored."""
    value = record.value or b""
    room = size - len(value) - len(b',"more":""')
    return replace(record, value=value[:-1] + b',"more":"' + b"x" * room + b'"}')


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


async def test_exactly_the_record_at_fault_becomes_a_dead_letter_and_only_for_the_handler_that_failed(
    pool: Pool, clock: Hands
) -> None:
    bad = record_of(unlucky())
    good = [record_of(requested()) for _ in range(20)]
    await consumer(pool, clock, counting(fails=True), counting("test.other")).handle([*good[:7], bad, *good[7:]])
    assert await effects(pool) == subjects(*good)
    assert await effects(pool, "test.other") == subjects(bad, *good)
    [aside] = await pool.fetch("select * from set_aside")
    assert (aside["state"], aside["handler"], aside["offset"]) == ("dead", "test.count", bad.offset)
    assert aside["detail"] == "test.count: ValueError"
    [told] = await pool.fetch("select topic, payload, headers from outbox")
    assert (told["topic"], told["payload"]) == ("medled.portal.dead-letters.v1", bad.value)
    assert f"dl_offset: {bad.offset}" in told["headers"]


async def test_what_is_refused_only_at_commit_is_found_as_well(pool: Pool, clock: Hands) -> None:
    await pool.execute("create table parents (id text primary key)")
    await pool.execute("alter table effects add foreign key (subject) references parents deferrable initially deferred")
    good, bad = record_of(requested()), record_of(requested())
    await pool.execute("insert into parents select unnest($1::text[])", subjects(good))
    await consumer(pool, clock, counting()).handle([bad, good])
    assert await effects(pool) == subjects(good)
    [aside] = await pool.fetch("select state, handler, detail from set_aside")
    assert tuple(aside) == ("dead", None, "the transaction: ForeignKeyViolationError")


async def test_a_record_that_fails_to_decode_in_a_way_nobody_thought_of_is_set_aside_alone(
    pool: Pool, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = record_of(requested()), record_of(requested())
    decode = Handlers.decode

    def failing(self: Handlers, record: Record) -> Received[Any]:
        if record is bad:
            raise RuntimeError("nobody thought of it")
        return decode(self, record)

    monkeypatch.setattr(Handlers, "decode", failing)
    await consumer(pool, clock, counting()).handle([good, bad])
    assert await effects(pool) == subjects(good)
    [aside] = await pool.fetch("select state, handler, detail from set_aside")
    assert tuple(aside) == ("dead", None, "the transaction: RuntimeError")


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


def slow_with_the_unlucky() -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        if any(event.data.cohort_id == UNLUCKY for event in events):
            await conn.execute("select pg_sleep(5)", timeout=0.02)
        await counting().apply(conn, events, now)

    return Handler("test.slow", (EnrolmentRequested,), apply, "every_fact")


async def test_a_statement_that_always_times_out_is_a_records_fault_while_the_database_answers(
    pool: Pool, clock: Hands
) -> None:
    records = [record_of(requested()), record_of(unlucky()), record_of(requested())]
    await consumer(pool, clock, slow_with_the_unlucky()).handle(records)
    assert await effects(pool) == subjects(records[0], records[2])
    assert await pool.fetchval("select reason from set_aside") == "handler_failed"


async def test_a_replay_that_times_out_again_is_a_dead_letter_again_and_holds_up_no_other(
    pool: Pool, clock: Hands
) -> None:
    it = consumer(pool, clock, slow_with_the_unlucky())
    await it.handle([record_of(unlucky()), record_of(unlucky())])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 2
    assert await pool.fetchval("select array_agg(state) from set_aside") == ["dead", "dead"]


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


async def test_a_record_nobody_can_read_is_set_aside_once_as_it_came(pool: Pool, clock: Hands) -> None:
    headers = [*record_of(requested()).headers, ("odd\0name", b"\xff"), ("empty", None)]
    topic = EnrolmentRequested.topic
    unreadable = [
        raw_record(topic, b"\xff\0", b"{", headers),
        raw_record(topic, None, None, []),
        raw_record(topic, b"k", b"{}", [("ce_type", None)]),
    ]
    it = consumer(pool, clock, counting())
    await it.handle(unreadable)
    await it.handle(unreadable)
    rows = await pool.fetch('select key, value, reason, state from set_aside order by "offset"')
    assert [tuple(row) for row in rows] == [(r.key, r.value, "undecodable", "dead") for r in unreadable]
    assert await pool.fetchval("select count(*) from outbox") == 3


async def test_a_dead_letter_too_large_for_kafka_is_told_without_its_value(pool: Pool, clock: Hands) -> None:
    large = raw_record(EnrolmentRequested.topic, b"k", b"x" * (MAX_PAYLOAD_BYTES + 1), [])
    await consumer(pool, clock, counting()).handle([large])
    assert await pool.fetchval("select payload is null and headers like '%dl_truncated: true%' from outbox")
    assert await pool.fetchval("select value from set_aside") == large.value


async def test_types_of_others_are_skipped_and_counted(pool: Pool, clock: Hands) -> None:
    declined = EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))
    it = consumer(pool, clock, counting())
    await it.handle([record_of(declined), record_of(declined)])
    await it.handle([record_of(declined)])
    assert await pool.fetchval("select records from inbox_skipped where type = $1", declined.type) == 3
    assert await pool.fetchval("select count(*) from set_aside") == 0


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


def keeping(applied: list[int]) -> Handler:
    async def apply(conn: Connection, events: Sequence[Received[UnitState]], now: datetime) -> None:
        applied.extend(event.sequence for event in events)

    return Handler("test.keep", (UnitState,), apply, "latest_state")


async def reasons(pool: Pool) -> list[tuple[str, str | None]]:
    rows = await pool.fetch("select reason, handler from set_aside where state = 'dead' order by set_aside_at, id")
    return [(row["reason"], row["handler"]) for row in rows]


async def test_a_record_of_another_topic_is_a_dead_letter_whoever_takes_its_type(pool: Pool, clock: Hands) -> None:
    access = record_of(
        AccessState(principal="machine:1", kind=PrincipalKind.machine, name="x", roles={"operator": None})
    )
    misplaced = raw_record(EnrolmentRequested.topic, access.key, access.value, access.headers)
    it = consumer(pool, clock, counting())
    await it.handle([misplaced, record_of(requested())])
    assert await reasons(pool) == [("wrong_topic", None)]
    assert (
        await pool.fetchval("select detail from set_aside") == f"the topic of {AccessState.type} is {AccessState.topic}"
    )
    assert len(await effects(pool)) == 1
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 1
    assert await reasons(pool) == [("wrong_topic", None)]


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


async def test_what_a_handler_refuses_is_a_dead_letter_at_once_and_again_when_it_is_replayed(
    pool: Pool, clock: Hands
) -> None:
    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> list[Rejected]:
        await counting().apply(conn, [event for event in events if event.data.cohort_id != UNLUCKY], now)
        return [Rejected(e.id, "conflict", "an unlucky cohort") for e in events if e.data.cohort_id == UNLUCKY]

    good, bad = record_of(requested()), record_of(unlucky())
    it = consumer(pool, clock, Handler("test.count", (EnrolmentRequested,), apply, "every_fact"))
    await it.handle([bad, good])
    assert await effects(pool) == subjects(good)
    for attempts in (1, 2):
        [aside] = await pool.fetch("select state, reason, detail, attempts from set_aside")
        assert tuple(aside) == ("dead", "conflict", "an unlucky cohort", attempts)
        assert (
            await pool.fetchval("select outcome from inbox where event_id <> all(select caused_by from effects)")
            == "dead"
        )
        await replay(pool, clock)
        assert await Retries(pool, clock, it).tick() == 1


def waiting(known: set[str]) -> Handler:
    async def apply(
        conn: Connection, events: Sequence[Received[EnrolmentRequested]], now: datetime
    ) -> Sequence[Parked]:
        await counting().apply(conn, [event for event in events if str(event.data.cohort_id) in known], now)
        return [Parked(e.id, f"cohort {e.data.cohort_id}") for e in events if str(e.data.cohort_id) not in known]

    return Handler("test.count", (EnrolmentRequested,), apply, "every_fact")


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


async def test_a_replay_that_fails_again_is_a_dead_letter_again_and_others_go_on(pool: Pool, clock: Hands) -> None:
    it = consumer(pool, clock, counting(fails=True))
    await it.handle([record_of(unlucky()), record_of(unlucky())])
    await replay(pool, clock)
    assert await Retries(pool, clock, it).tick() == 2
    rows = await pool.fetch("select state, attempts from set_aside")
    assert [tuple(row) for row in rows] == [("dead", 4), ("dead", 4)]
    assert await effects(pool) == []


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


async def test_a_value_that_the_database_cannot_take_is_the_records_fault_and_no_outage(
    pool: Pool, clock: Hands
) -> None:
    async def apply(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        await conn.execute("select $1::int", 2**40)  # asyncpg calls this an interface error

    async with asyncio.timeout(10):
        await consumer(pool, clock, Handler("h", (EnrolmentRequested,), apply, "every_fact")).handle(
            [record_of(requested())]
        )
    assert await pool.fetchval("select state from set_aside") == "dead"


async def test_a_fault_whose_place_cannot_be_stored_is_set_aside_all_the_same(pool: Pool, clock: Hands) -> None:
    access = AccessState(principal="machine:1", kind=PrincipalKind.machine, name="HR", roles={})
    sound = record_of(access)
    value = sound.value.replace(b'"roles":{}', b'"roles":{"\\u0000":[]}')
    assert value != sound.value
    handler = Handler("h", (AccessState,), counting().apply, "latest_state")
    await consumer(pool, clock, handler).handle([raw_record(sound.topic, b"k" * 2000, value, sound.headers)])
    assert await pool.fetchval("select (state, reason)::text from set_aside") == "(dead,undecodable)"
    assert await pool.fetchval("select length(key) from outbox") == 1000


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
