"""`medled events tail` reads what outsiders read, on real brokers."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import Result

from shared.events import AccessState, EnrolmentDeclined, EnrolmentRequested, Event, InvitationRevoked, PrincipalKind
from shared.events.envelope import header_lines, kafka_headers
from shared.ids import new_id
from tests.shared.records import record_of
from tests.support.backbone import requested
from tests.support.commands import describe_stack, medled

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def stack(broker: str, tmp_path: Path) -> Path:
    describe_stack(tmp_path, {}, broker)
    return tmp_path


async def send(bootstrap: str, *events: Event, transactional_id: str | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
    await producer.start()
    if transactional_id:
        await producer.begin_transaction()
    for event in events:
        lines = header_lines(
            type(event), id=new_id(), subject=event.subject, time=datetime(2026, 3, 2, 9, tzinfo=UTC), unit=event.unit,
            programme=event.programme, correlation_id="c", causation_id=None,
            traceparent=f"00-{TRACE}-b7ad6b7169203331-01", tracestate=None,
        )  # fmt: skip
        headers = kafka_headers(f"{lines}\nce_sequence: 7")
        await producer.send_and_wait(event.topic, event.encode(), key=event.key.encode(), headers=headers)
    if transactional_id:
        await producer.commit_transaction()
    await producer.stop()


async def tail(stack: Path, *words: object) -> Result:
    return await medled(stack, "events", "tail", *words)


def declined() -> EnrolmentDeclined:
    return EnrolmentDeclined(**requested().model_dump(exclude={"approve_before"}))


async def test_each_event_is_one_line_and_can_be_chosen(stack: Path, broker: str) -> None:
    first, second = requested(), declined()
    await send(broker, first, second, InvitationRevoked(invitation_id=new_id(), round_id=new_id()))
    everything = ("--from-beginning", "--no-follow")

    lines = (await tail(stack, *everything)).stdout.splitlines()
    assert len(lines) == 2, "restricted topics are read when named only"
    found = next(line for line in lines if first.subject in line).split()
    assert found == ["2026-03-02T09:00:00.000Z", EnrolmentRequested.type, first.subject, "#7", TRACE]

    for choice in (["--type", "enrolment.declined"], ["--type", second.type], ["--subject", second.subject]):
        lines = (await tail(stack, *everything, *choice)).stdout.splitlines()
        assert [second.subject in line for line in lines] == [True], choice
    for named in (["--topic", "invitations"], ["--type", "invitation.revoked"]):
        assert "medled.invitation.revoked.v1" in (await tail(stack, *everything, *named)).stdout
    assert len((await tail(stack, *everything, "--limit", 1)).stdout.splitlines()) == 1

    document = json.loads((await tail(stack, *everything, "--json", "--type", first.type)).stdout)
    assert UUID(document["data"]["enrolment_id"]) == first.enrolment_id
    assert (document["trace_id"], document["sequence"], document["topic"]) == (TRACE, 7, first.topic)


async def test_without_a_beginning_it_waits_for_what_comes(stack: Path, broker: str) -> None:
    await send(broker, requested())
    following = asyncio.create_task(tail(stack, "--limit", 1))
    for _ in range(60):  # it says nothing of when it has begun, so something comes until it ends
        await asyncio.sleep(0.5)
        await send(broker, later := declined())
        if following.done():
            break
    assert later.type in (await following).stdout


async def test_without_a_beginning_nothing_old_is_told_though_it_came_in_one_batch(stack: Path, broker: str) -> None:
    """The embedded broker says of such a batch that its end is its first record's."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    batch = producer.create_batch()
    for _ in range(20):
        batch.append(key=b"k", value=b"{}", timestamp=None)
    await (await producer.send_batch(batch, requested().topic, partition=0))
    await producer.stop()
    assert (await tail(stack, "--no-follow")).stdout == ""
    assert len((await tail(stack, "--no-follow", "--from-beginning")).stdout.splitlines()) == 20


@pytest.mark.kafka
async def test_on_apache_kafka_it_ends_behind_the_marker_of_a_transaction(kafka: str, tmp_path: Path) -> None:
    describe_stack(tmp_path, {}, kafka)
    event = requested()
    await send(kafka, event, transactional_id="tail")
    ended = await tail(tmp_path, "--from-beginning", "--no-follow", "--subject", event.subject)
    assert ended.exit_code == 0
    assert len(ended.stdout.splitlines()) == 1


async def test_a_record_that_is_no_event_is_told_of(stack: Path, broker: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    await producer.send_and_wait("medled.enrolment.v1", b"?", key=b"k", headers=[("ce_id", None)])
    await producer.stop()
    assert "undecodable: medled.enrolment.v1/" in (await tail(stack, "--from-beginning", "--no-follow")).stdout


async def test_an_event_on_a_topic_that_is_not_its_own_is_told_as_that_and_not_as_an_event(
    stack: Path, broker: str
) -> None:
    operator = AccessState(principal="machine:1", kind=PrincipalKind.machine, name="x", roles={"operator": None})
    forged = record_of(operator)
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    await producer.send_and_wait(requested().topic, forged.value, key=forged.key, headers=list(forged.headers))
    await producer.stop()
    [told] = (await tail(stack, "--from-beginning", "--no-follow")).stdout.splitlines()
    assert told.startswith("wrong_topic: medled.enrolment.v1/")
    document = json.loads((await tail(stack, "--from-beginning", "--no-follow", "--json")).stdout)
    assert (document["reason"], "data" in document) == ("wrong_topic", False)
    asked = await tail(stack, "--from-beginning", "--no-follow", "--type", operator.type, "--topic", "enrolment")
    assert asked.stdout == ""


async def test_an_unknown_topic_an_unknown_type_and_no_broker_are_said_plainly(tmp_path: Path) -> None:
    describe_stack(tmp_path, {})
    assert (await tail(tmp_path, "--topic", "payroll")).exit_code == 2
    typo = await tail(tmp_path, "--no-follow", "--type", "milestone.reach")
    assert typo.exit_code == 2
    assert "no type of event milestone.reach; near it are milestone.reached, " in typo.stderr
    assert "cohort.opened" in (await tail(tmp_path, "--no-follow", "--type", "nope")).stderr
    nowhere = await tail(tmp_path, "--no-follow")
    assert nowhere.exit_code == 1
    assert "The broker cannot be read" in nowhere.stderr
