"""The whole of Medled on Apache Kafka: the journey, one trace through it, a rebalance, readers that are not ours."""

import asyncio
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat

from deploy.demo.play import Outcome, play
from deploy.embedded.kafka import KafkaBroker
from deploy.embedded.process import free_port
from deploy.local import Options, running
from deploy.services import find_service
from deploy.stack import Stack
from deploy.verify import verify
from shared.clock import Clock
from shared.events.topics import load_topics
from tests.support.skipping import skip
from tests.support.workers import another_worker, had_a_share

pytestmark = pytest.mark.timeout(240)

Span = dict[str, Any]
CROWD = 2000


@pytest.fixture(scope="module")
def stack(kafka_server: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Medled with every process, on a real broker."""
    options = Options(tmp_path_factory.mktemp("stack"), port=free_port(), broker=kafka_server.bootstrap)
    with running(options, lambda _: None) as (started, _):
        yield started


@pytest.fixture(scope="module")
def played(stack: Stack) -> Outcome:
    """The programme, played once over public APIs, mail and pages."""
    return asyncio.run(play(stack, lambda _: None))


def test_the_journey_ties_up_and_nothing_is_lost_or_doubled(played: Outcome) -> None:
    assert [line for line in played.lines if not line.ties_up] == []
    assert played.verified.clean
    assert played.is_sound


def test_one_trace_goes_from_the_request_that_reaches_a_milestone_to_the_delivered_mail(
    played: Outcome, stack: Stack
) -> None:
    spans = [span for file in stack.spans.glob("*.jsonl") for span in map(json.loads, file.read_text().splitlines())]
    requests = [span for span in spans if span["name"] == "POST " + REACH]
    assert requests
    for request in requests:
        trace = {span["span_id"]: span for span in spans if span["trace_id"] == request["trace_id"]}
        for delivered in (span for span in trace.values() if span["name"] == "deliver mail"):
            way = list(_up(delivered, trace))
            if "process medled.invitation.issued.v1" in [span["name"] for span in way]:
                assert [span["service"] for span in way] == [
                    "medled-notifications-worker",
                    "medled-notifications-worker",
                    "medled-feedback-worker",
                    "medled-enrolment-api",
                    "medled-portal-api",
                ]
                return
    pytest.fail("no invitation's delivery hangs below the request that reached the milestone")


REACH = "/enrolment/v1/enrolments/{enrolment_id}/milestones/{key}/reach"


def _up(span: Span, trace: dict[str, Span]) -> Iterator[Span]:
    """A span and everything above it."""
    found: Span | None = span
    while found is not None:
        yield found
        found = trace.get(found["parent_id"] or "")


def test_kcat_reads_an_event_and_its_headers(played: Outcome, stack: Stack) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        skip("kcat is not installed")
    read = subprocess.run(
        [kcat, "-C", "-b", stack.kafka_bootstrap, "-t", "medled.enrolment.v1", "-o", "beginning", "-e", "-J"],
        capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    records = [json.loads(line) for line in read.stdout.splitlines()]
    headers = records[0]["headers"]
    named = dict(zip(headers[::2], headers[1::2], strict=True))
    assert named["ce_specversion"] == "1.0"
    assert named["ce_source"] == "/medled/enrolment"
    assert named["ce_type"].startswith("medled.")
    assert named["traceparent"].startswith("00-")
    assert records[0]["key"] == named["ce_subject"]
    assert json.loads(records[0]["payload"])


async def test_the_cloudevents_sdk_parses_every_record_of_the_public_topics(played: Outcome, stack: Stack) -> None:
    seen: set[str] = set()
    for record in await _records(stack, [name for name, topic in load_topics().items() if _is_public(name, topic)]):
        message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value or b"")
        event = from_binary_event(message, JSONFormat())
        seen.add(event.get_type())
    assert {"medled.milestone.reached.v1", "medled.round.opened.v1", "medled.notification.sent.v1"} <= seen


def _is_public(name: str, topic: Any) -> bool:
    return not topic.restricted and name != "medled.epoch.v1"


async def _records(stack: Stack, topics: list[str]) -> list[Any]:
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=stack.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        found: list[Any] = []
        while batch := await consumer.getmany(timeout_ms=2000):
            found += [record for records in batch.values() for record in records]
        return found
    finally:
        await consumer.stop()


def test_a_rebalance_while_events_flow_loses_and_doubles_nothing(played: Outcome, stack: Stack, tmp_path: Path) -> None:
    export = tmp_path / "crowd.csv"
    export.write_text(_crowd(CROWD), encoding="utf-8")
    second = [another_worker(stack, service, tmp_path, "2") for service in ("portal", "feedback", "notifications")]
    importing = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "hr", "import", str(export), "--source", "crowd",
         "--data", str(stack.data)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for worker in second:
            worker.start()
        output, _ = importing.communicate(timeout=90)
        assert importing.returncode == 0, output.decode()
    finally:
        for worker in second:
            worker.stop()
    report = asyncio.run(_verified(stack))
    assert report.clean, report
    for worker in second:
        assert had_a_share(worker), f"{worker.name} never had a share of the partitions"
    newcomers = [each for each in report.subscriptions if each.type == "medled.person.state.v1"]
    assert {each.service for each in newcomers} == {"portal", "feedback", "notifications"}
    assert all(each.applied + each.superseded >= CROWD for each in newcomers)


async def _verified(stack: Stack) -> Any:
    handlers = {service: find_service(service).handlers for service in stack.databases}
    return await verify(stack.databases, stack.kafka_bootstrap, handlers, clock=Clock(stack.clock_file), wait=60)


def _crowd(people: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["Employee ID", "Legal First Name", "Legal Last Name", "Work Email", "Supervisory Organization",
                     "Manager Employee ID", "Worker Status"])  # fmt: skip
    for number in range(people):
        manager = f"C{number // 10}" if number else ""
        address, unit = f"kim.{number}@crowd.example", f"Crowd - Team {number % 40}"
        writer.writerow([f"C{number}", "Kim", f"Berg {number}", address, unit, manager, "Active"])
    return out.getvalue()
