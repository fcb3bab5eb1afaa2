"""`medled verify` on real servers: clean when all is well, and it sees a loss, a doubling and what is under way."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.services import SERVICES, find_service
from deploy.verify import verify
from deploy.verify.report import UNDECODABLE
from shared.events import EnrolmentDeclined, EnrolmentRequested, UnitState
from shared.ids import new_id
from shared.messaging import inbox, outbox
from shared.messaging.handler import Handler, Parked, Received
from shared.postgres.pool import Connection
from tests.support.backbone import publish, requested, until
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases
from tests.support.verifying import COUNT, House, house, line

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]


async def all_is_well(all_: House) -> None:
    for _ in range(3):
        await publish(all_.producer, [requested() for _ in range(20)])
    await publish(all_.producer, [EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))])
    report = await all_.verify()
    assert report.under_way == []
    assert report.clean
    found = line(report)
    assert (found.published, found.applied, found.lost, found.doubled) == (60, 60, 0, 0)
    assert {fact.type: fact.on_kafka for fact in report.facts} == {
        EnrolmentRequested.type: 60,
        EnrolmentDeclined.type: 1,
    }
    assert report.skipped == {"portal": {EnrolmentDeclined.type: 1}}


async def test_what_went_well_is_clean(broker: str, database: Databases) -> None:
    async with house(database, broker, transactions=False) as all_:
        await all_is_well(all_)


async def test_on_apache_kafka_the_offsets_that_transactions_take_are_no_lag(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await all_is_well(all_)


async def test_on_apache_kafka_a_transaction_that_stays_open_holds_nobody_up(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await all_.consumer.execute("create table effects (caused_by uuid, subject text, key text, sequence bigint)")
        stranger = AIOKafkaProducer(bootstrap_servers=fresh_kafka, transactional_id="a relay that was killed")
        await stranger.start()
        await stranger.begin_transaction()
        await stranger.send_and_wait(EnrolmentRequested.topic, b"{}", key=b"k", partition=0)
        try:  # what lies behind the open transaction cannot be seen: under way, not lost
            assert (await all_.verify(wait=5)).lost == 0
        finally:
            await stranger.abort_transaction()
            await stranger.stop()
        assert (await all_.verify()).lost == 0


async def test_losses_and_doublings_are_each_found_by_id_and_counted(fresh_kafka: str, database: Databases) -> None:
    async with house(database, fresh_kafka) as all_:
        ids = [str(each) for each in await publish(all_.producer, [requested() for _ in range(5)])]
        assert (await all_.verify()).clean

        await all_.consumer.execute("insert into effects select * from effects where caused_by = $1", ids[0])
        report = await all_.verify()
        assert not report.clean
        assert (report.lost, report.doubled, line(report).doubled_ids) == (0, 1, [ids[0]])

        await all_.consumer.execute("delete from inbox where event_id = $1", ids[2])
        report = await all_.verify()
        assert (report.lost, report.doubled) == (1, 1)
        assert (line(report).applied, line(report).lost_ids) == (4, [ids[2]])

        async with all_.producer.acquire() as conn, conn.transaction():  # what a relay would leave that marks first
            await outbox.add(conn, requested(), now=datetime.now(UTC))
            marked = "update outbox set published_at = now() where published_at is null returning id"
            unsent = [str(row["id"]) for row in await conn.fetch(marked)]
        report = await all_.verify()
        assert report.facts[0].missing_ids == unsent
        assert line(report).lost_ids == sorted([ids[2], *unsent])

        await all_.consumer.execute("delete from inbox_offsets")
        report = await all_.verify(wait=0.5)
        [behind] = report.under_way
        told = re.fullmatch(r"portal is up to (\d+) records behind", behind)
        assert told, "and what is under way is not called lost"
        assert 5 <= int(told[1]) <= 5 + 12, "of them the marks of the relay's fence, two in each partition at most"
        assert (line(report).waiting, line(report).lost_ids) == (1, unsent)


async def test_several_effects_of_one_event_are_doubled_when_they_are_alike_in_all_that_tells_them_apart(
    fresh_kafka: str, database: Databases
) -> None:
    """As of a fact that many people are told of: each of them once."""
    each = replace(COUNT, effect="effects.caused_by/key/subject")
    async with house(database, fresh_kafka, each) as all_:
        [cause] = [str(id_) for id_ in await publish(all_.producer, [requested()])]
        assert (await all_.verify()).clean
        copies = "insert into effects select caused_by, {}, key, sequence from effects where caused_by = $1 limit 1"
        for _ in range(2):
            await all_.consumer.execute(copies.format("gen_random_uuid()::text"), cause)
        assert (await all_.verify()).clean
        for _ in range(2):
            await all_.consumer.execute(copies.format("subject"), cause)
        report = await all_.verify()
    assert (report.lost, report.doubled, line(report).doubled_ids) == (0, 2, [cause])


async def answer(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
    for event in events:
        told = EnrolmentDeclined(**event.data.model_dump(exclude={"approve_before"}))
        await outbox.add(conn, told, now=now, cause=event)


async def test_an_event_told_twice_by_one_cause_is_a_doubling(fresh_kafka: str, database: Databases) -> None:
    telling = Handler("test.answer", (EnrolmentRequested,), answer, "every_fact")
    async with house(database, fresh_kafka, producing=[telling]) as all_:
        ids = await publish(all_.producer, [requested()])
        await until_told(all_, EnrolmentDeclined.type)
        assert (await all_.verify()).clean
        await all_.producer.execute(
            """
            insert into outbox (id, topic, key, subject, type, caused_by, headers, payload)
            select new.id, topic, key, subject, type, caused_by, replace(headers, o.id::text, new.id::text), payload
            from outbox o, gen_random_uuid() as new(id) where type = $1
            """,
            EnrolmentDeclined.type,
        )
        report = await all_.verify()
    assert (report.doubled, report.foreign) == (1, 0)
    assert line(report, EnrolmentDeclined.type).doubled_ids == [str(ids[0])]


async def until_told(all_: House, type_: str) -> None:
    async def told() -> bool:
        return bool(await all_.producer.fetchval("select exists (select from outbox where type = $1)", type_))

    await until(told)


async def test_a_record_nobody_can_decode_is_a_dead_letter_and_without_it_lost(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested()])
        await all_.send(b"{}", ce_id="no event")
        report = await all_.verify()
        assert (report.lost, report.foreign) == (0, 1)
        assert (line(report, UNDECODABLE).published, line(report, UNDECODABLE).dead) == (1, 1)
        await all_.consumer.execute("delete from set_aside")
        assert line(await all_.verify(), UNDECODABLE).lost == 1


async def test_what_waits_for_its_parent_is_parked_and_without_its_record_lost(
    fresh_kafka: str, database: Databases
) -> None:
    async def wait(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> list[Parked]:
        return [Parked(event.id, "a parent") for event in events]

    async with house(database, fresh_kafka, Handler("test.wait", (EnrolmentRequested,), wait, "every_fact")) as all_:
        await publish(all_.producer, [requested()])
        await all_.verify(wait=3)
        await all_.consumer.execute("update set_aside set retry_at = now() + interval '1 hour'")
        report = await all_.verify()
        assert report.clean
        assert line(report).parked == 1
        await all_.consumer.execute("delete from set_aside")
        assert line(await all_.verify()).lost == 1


async def test_a_state_that_a_newer_one_has_replaced_on_kafka_is_superseded(
    fresh_kafka: str, database: Databases
) -> None:
    unit = new_id()

    async def keep(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        """The inbox alone matters here."""

    async with house(database, fresh_kafka, Handler("test.keep", (UnitState,), keep, "latest_state")) as all_:
        await publish(all_.producer, [UnitState(unit_id=unit, name=name) for name in ("old", "new")])
        assert (await all_.verify()).clean
        # As if compaction had come before the consumer: the outbox alone still knows of an older state.
        await all_.producer.execute(
            """
            insert into outbox (seq, id, topic, key, subject, type, headers, payload, compacted, published_at)
            overriding system value
            select 0, gen_random_uuid(), topic, key, subject, type, headers, payload, compacted, published_at
            from outbox order by seq limit 1
            """
        )
        report = await all_.verify()
    assert report.clean, report
    assert next(fact for fact in report.facts if fact.type == UnitState.type).replaced == 1
    assert (line(report, UnitState.type).applied, line(report, UnitState.type).superseded) == (1, 2)


async def test_a_state_that_nobody_has_changed_for_longer_than_inboxes_remember_is_not_lost(
    fresh_kafka: str, database: Databases
) -> None:
    async def keep(conn: Connection, events: Sequence[Received[Any]], now: datetime) -> None:
        """The inbox alone matters here."""

    async with house(database, fresh_kafka, Handler("test.keep", (UnitState,), keep, "latest_state")) as all_:
        ages = "{0} = {0} - interval '130 days'"
        async with all_.producer.acquire() as conn, conn.transaction():
            await outbox.add(conn, UnitState(unit_id=new_id(), name="Care"), now=datetime.now(UTC))
            await conn.execute(f"update outbox set {ages.format('created_at')}")
        assert (await all_.verify()).clean
        await all_.producer.execute(f"update outbox set {ages.format('published_at')}")
        await all_.consumer.execute(f"update inbox set {ages.format('handled_at')}")
        now = datetime.now(UTC)
        await outbox.prune(all_.producer, now - timedelta(days=14))
        await inbox.forget_before(all_.consumer, now - timedelta(days=120))
        assert await all_.consumer.fetchval("select count(*) from inbox") == 0
        assert (await all_.verify()).clean


async def test_a_record_refused_only_at_commit_is_a_dead_letter_and_not_lost(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await all_.consumer.execute(
            """
            create table parents (id text primary key);
            create table effects (caused_by uuid, subject text, key text, sequence bigint,
                foreign key (subject) references parents deferrable initially deferred);
            """
        )
        await publish(all_.producer, [requested()])
        report = await all_.verify()
    assert (line(report).lost, line(report).dead) == (0, 1)
    assert report.clean


async def test_a_producer_that_is_not_part_of_the_deployment_is_named(fresh_kafka: str, database: Databases) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested()])
        await all_.verify()
        report = await verify({"portal": all_.databases["portal"]}, fresh_kafka, {"portal": [COUNT]}, wait=20)
    assert report.clean
    assert line(report).applied == 1, "judged from what is on Kafka"
    assert report.remarks == [
        "portal takes events of enrolment, whose database is not part of this: judged from what is on Kafka alone"
    ]


async def test_the_command_prints_the_verdict_and_ends_with_it(
    fresh_kafka: str, database: Databases, tmp_path: Path
) -> None:
    """Enrolment's own handlers work here; the portal's are not met yet: they are owed what it has read without them."""
    async with house(database, fresh_kafka, producing=find_service("enrolment").handlers) as all_:
        await publish(all_.producer, [requested()])
        await all_.verify()
        describe_stack(tmp_path, {"enrolment": all_.databases["enrolment"]}, fresh_kafka)
        clean = await medled(tmp_path, "verify", "--wait", 10)
        assert clean.exit_code == 0, clean.output
        assert "Clean: 1 event published" in clean.stdout
        assert f"{EnrolmentRequested.type} " in clean.stdout
        describe_stack(tmp_path, all_.databases, fresh_kafka)
        owed = await medled(tmp_path, "verify", "--wait", 0, "--json")
    assert owed.exit_code == 1
    verdict = json.loads(owed.stdout)
    assert (verdict["lost"], verdict["clean"]) == (0, False)
    assert "portal's portal.stream.entries lacks up to " in "".join(verdict["under_way"])
    assert [each["waiting"] for each in verdict["subscriptions"] if each["handler"] == "portal.stream.entries"] == [1]


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_declares_what_it_takes_without_being_set_up(service: str) -> None:
    handlers = find_service(service).handlers
    assert handlers
    assert all(handler.name.count(".") >= 1 for handler in handlers)
    assert all(kind.count(".") >= 1 for kind in find_service(service).timers)


async def test_a_database_that_lets_nobody_in_is_not_waited_for(database: Databases, tmp_path: Path) -> None:
    stranger = re.sub(r"//[^@]+@", "//stranger@", await database("portal"))
    describe_stack(tmp_path, {"portal": stranger})
    ended = await medled(tmp_path, "verify", "--wait", 600)
    assert ended.exit_code == 1
    assert ended.stderr.startswith("Nothing could be judged: portal's database: ")


async def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    describe_stack(tmp_path, {"portal": "postgresql://nobody@127.0.0.1:1/portal"})
    ended = await medled(tmp_path, "verify", "--wait", 0)
    assert ended.exit_code == 1
    assert ended.stderr.startswith("Nothing could be judged: no answer from portal's database: ")
