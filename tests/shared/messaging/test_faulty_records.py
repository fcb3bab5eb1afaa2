"""A record at fault is found and set aside alone, as it came; the rest goes on. Real Postgres."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from shared.events import AccessState, EnrolmentRequested, PrincipalKind
from shared.messaging.dispatch import Handlers
from shared.messaging.handler import Handler, Received, Record, Rejected
from shared.messaging.outbox import MAX_PAYLOAD_BYTES
from shared.messaging.retries import Retries
from shared.postgres.pool import Connection, Pool
from tests.shared.consuming import UNLUCKY, Hands, consumer, counting, effects, reasons, replay, subjects, unlucky
from tests.shared.records import raw_record, record_of
from tests.support.backbone import requested


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
