"""Whoever can write to a topic can forge records that everybody believes: `medled verify` tells them from ours."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.verify import Foreign, Report
from shared.events import EnrolmentRequested
from shared.events.envelope import header_lines, kafka_headers
from shared.ids import new_id
from shared.messaging import outbox
from shared.messaging.epoch import EPOCH_TOPIC
from tests.support.backbone import publish, requested
from tests.support.commands import describe_stack, medled
from tests.support.databases import Databases
from tests.support.verifying import House, house, line

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]


async def forge(bootstrap: str, event: EnrolmentRequested, *, at: datetime | None = None, sequence: int = 1) -> str:
    """A record that follows the contract to the letter, and that no service has told; gives its id."""
    event_id, time = new_id(), at or datetime.now(UTC)
    lines = header_lines(
        EnrolmentRequested, id=event_id, subject=event.subject, time=time, unit=event.unit, programme=event.programme,
        correlation_id=str(event_id), causation_id=None, traceparent=None, tracestate=None,
    )  # fmt: skip
    headers = kafka_headers(f"{lines}\nce_sequence: {sequence}")
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(
            event.topic, event.encode(), key=event.key.encode(), headers=headers,
            timestamp_ms=int(time.timestamp() * 1000),
        )  # fmt: skip
    return str(event_id)


async def first_record(bootstrap: str) -> Any:
    async with AIOKafkaConsumer(
        EnrolmentRequested.topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        return await consumer.getone()


def the_one(report: Report) -> Foreign:
    assert (report.foreign, len(report.foreign_records)) == (1, 1), report
    assert not report.clean
    assert (report.lost, report.doubled) == (0, 0)
    return report.foreign_records[0]


async def test_a_forged_but_valid_record_is_told_by_place_and_by_who_believed_it(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested() for _ in range(5)])
        forged = requested()
        event_id = await forge(fresh_kafka, forged)
        report = await all_.verify()
    found = the_one(report)
    assert (found.topic, found.type, found.subject) == (forged.topic, forged.type, str(forged.enrolment_id))
    assert (found.event_id, found.why) == (event_id, "unknown_subject")
    assert (found.partition >= 0, found.offset >= 0) == (True, True)
    assert found.taken_by == {"test.count": "applied"}
    assert line(report).published == 5, "what nobody told is no event that a handler should have had"


async def test_the_command_names_a_forged_record_and_ends_with_status_1(
    fresh_kafka: str, database: Databases, tmp_path: Path
) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested()])
        await all_.verify()
        forged = requested()
        await forge(fresh_kafka, forged)
        describe_stack(tmp_path, {"enrolment": all_.databases["enrolment"]}, fresh_kafka)
        ended = await medled(tmp_path, "verify", "--wait", 5)
        as_json = await medled(tmp_path, "verify", "--wait", 5, "--json")
    assert ended.exit_code == 1, ended.output
    assert f"FOREIGN {forged.topic}" in ended.stdout
    assert str(forged.enrolment_id) in ended.stdout
    assert "1 foreign" in ended.stdout
    verdict = json.loads(as_json.stdout)
    assert (verdict["foreign"], verdict["clean"], verdict["lost"]) == (1, False, 0)
    assert verdict["foreign_records"][0]["subject"] == str(forged.enrolment_id)


async def test_a_sequence_that_its_outbox_has_not_come_to_is_foreign_however_old_the_record_claims_to_be(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        event = requested()
        await publish(all_.producer, [event])
        await _forget(all_, datetime.now(UTC))
        await forge(fresh_kafka, event, at=datetime.now(UTC) - timedelta(days=300), sequence=7)
        assert the_one(await all_.verify()).why == "sequence_ahead"


async def test_a_record_dated_back_is_foreign_by_where_it_stands(fresh_kafka: str, database: Databases) -> None:
    """The date is the forger's to choose, the place on the log is not: it stands behind one that is remembered."""
    async with house(database, fresh_kafka) as all_:
        event = requested()
        await publish(all_.producer, [event])
        await all_.verify()
        await forge(fresh_kafka, event, at=datetime.now(UTC) - timedelta(days=300))
        await all_.producer.execute(
            "insert into outbox_forgotten (before) values ($1)", datetime.now(UTC) - timedelta(days=1)
        )
        assert the_one(await all_.verify()).why == "not_told"


async def test_a_genuine_record_with_other_content_is_foreign(fresh_kafka: str, database: Databases) -> None:
    """Its id is known to everybody who reads the topic; whoever reads the copy first believes the copy."""
    async with house(database, fresh_kafka) as all_:
        event = requested()
        await publish(all_.producer, [event])
        await all_.verify()
        record = await first_record(fresh_kafka)
        other = event.model_copy(update={"person_id": new_id()})
        async with AIOKafkaProducer(bootstrap_servers=fresh_kafka) as producer:
            await producer.send_and_wait(event.topic, other.encode(), key=record.key, headers=list(record.headers))
            await producer.send_and_wait(event.topic, record.value, key=record.key, headers=list(record.headers))
        found = the_one(await all_.verify())
    assert found.why == "other_content"


async def test_garbage_that_was_refused_is_foreign_all_the_same_and_says_who_refused_it(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested()])
        await all_.send(b"{}", ce_id="no event")
        found = the_one(await all_.verify())
    assert (found.type, found.subject, found.event_id) == (None, None, None)
    assert found.refused_by == {"portal": "undecodable"}


async def test_what_is_older_than_the_outbox_remembers_is_not_judged_and_that_is_said(
    fresh_kafka: str, database: Databases
) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested() for _ in range(3)])
        assert (await all_.verify()).clean
        await _forget(all_, datetime.now(UTC))
        await publish(all_.producer, [requested()])
        report = await all_.verify()
    assert report.clean
    assert next(fact for fact in report.facts if fact.type == EnrolmentRequested.type).too_old == 3
    assert report.remembered_since["enrolment"] is not None
    assert any("3 records are older than enrolment's outbox remembers" in remark for remark in report.remarks)


async def test_what_is_published_again_with_equal_ids_is_ours(fresh_kafka: str, database: Databases) -> None:
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested() for _ in range(4)])
        assert (await all_.verify()).clean
        await all_.producer.execute("update outbox set published_at = null")
        report = await all_.verify()
    assert report.clean, report
    assert next(fact for fact in report.facts if fact.type == EnrolmentRequested.type).repeated == 4


async def test_garbage_before_the_brokers_epoch_keeps_nobody_from_judging(
    fresh_kafka: str, database: Databases
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=fresh_kafka) as producer:
        for value in (b"garbage", None, b"\xff"):
            await producer.send_and_wait(EPOCH_TOPIC, value, key=b"k", partition=0)
    async with house(database, fresh_kafka) as all_:
        await publish(all_.producer, [requested()])
        report = await all_.verify()
    assert report.clean, report
    assert line(report).applied == 1


async def _forget(all_: House, moment: datetime) -> None:
    """As a worker does once a row has been published for longer than it is kept."""
    await outbox.prune(all_.producer, moment)
