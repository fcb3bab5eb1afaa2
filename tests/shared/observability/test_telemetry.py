"""Traces: what is stored is what comes back, records hang below their producers, nothing private is exported."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from shared.events.envelope import Envelope
from shared.ids import new_id
from shared.observability import telemetry, tracing
from shared.settings import Settings
from tests.support.settings import make_settings

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = REMOTE[:-2] + "00"

Spans = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[Spans]:
    """Telemetry that writes to a file, and what was written so far."""
    file = tmp_path / "spans" / "worker.jsonl"
    running = telemetry.setup(make_settings(Settings, "postgresql://x", span_file=file), "feedback-worker")

    def read() -> list[dict[str, Any]]:
        running.tracer_provider.force_flush()
        return [json.loads(line) for line in file.read_text().splitlines()]

    yield read
    telemetry.teardown()


def envelope(traceparent: str | None = REMOTE) -> Envelope:
    from datetime import UTC, datetime

    return Envelope(
        new_id(), "medled.round.opened.v1", "/medled/feedback", "s", datetime.now(UTC), 1, None, None, "c", None,
        traceparent, None,
    )  # fmt: skip


def test_a_stored_context_comes_back_as_it_was() -> None:
    assert tracing.traceparent_of(tracing.context_from(REMOTE, "vendor=1")) == (REMOTE, "vendor=1")
    assert tracing.traceparent_of(tracing.context_from(UNSAMPLED, None)) == (UNSAMPLED, None)


@pytest.mark.parametrize("broken", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ff" + REMOTE[2:]])
def test_a_broken_context_is_none_at_all(broken: str | None) -> None:
    assert tracing.traceparent_of(tracing.context_from(broken, "vendor=1")) == (None, None)


def test_outside_any_trace_there_is_nothing_to_store() -> None:
    assert tracing.traceparent_of(None) == (None, None)
    assert tracing.correlation_id() is None


def test_before_setup_everything_works_and_reports_nothing() -> None:
    with tracing.span("quiet"):
        assert tracing.traceparent_of(None) == (None, None)
    telemetry.meter().create_counter("medled.test").add(1)
    assert tracing.traceparent_of(tracing.record_context(envelope(), consumer="x")) == (REMOTE, None)


def test_a_span_is_in_the_file_soon_after_it_ended(spans: Spans, tmp_path: Path) -> None:
    with tracing.span("prompt"):
        pass
    file = tmp_path / "spans" / "worker.jsonl"
    deadline = time.monotonic() + 5
    while not file.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert '"prompt"' in file.read_text()


def test_a_span_says_whose_it_is_and_below_what(spans: Spans) -> None:
    with tracing.span("outer", kind=SpanKind.SERVER), tracing.span("inner", attributes={"rows": 3}):
        pass
    inner, outer = spans()
    assert (inner["name"], inner["attributes"], inner["kind"]) == ("inner", {"rows": 3}, "internal")
    assert (inner["trace_id"], inner["parent_id"]) == (outer["trace_id"], outer["span_id"])
    assert (outer["service"], outer["parent_id"], outer["status"]) == ("medled-feedback-worker", None, "unset")
    assert outer["start"] <= inner["start"] <= inner["end"] <= outer["end"]


def test_a_failure_is_told_by_its_class_and_never_by_its_message(spans: Spans) -> None:
    with pytest.raises(ValueError, match="Anna"), tracing.span("failing"):
        raise ValueError("Anna Berg")
    (failed,) = spans()
    assert (failed["status"], failed["error"]) == ("error", "ValueError")
    assert "Anna" not in json.dumps(failed)


def test_paths_queries_and_addresses_given_by_instrumentation_are_not_exported(spans: Spans) -> None:
    attributes = {"http.route": "/answer/{token}", "url.path": "/answer/s3cret", "client.address": "10.0.0.1"}
    telemetry.tracer().start_span("GET /answer/{token}", attributes=attributes).end()
    assert spans()[0]["attributes"] == {"http.route": "/answer/{token}"}


async def test_a_request_is_traced_by_its_route_and_never_by_its_path(spans: Spans) -> None:
    app = FastAPI(telemetry={"tracer_provider": telemetry.tracer_provider(), "operation_spans": False, "logs": False})

    @app.get("/answer/{token}")
    def answer(token: str) -> str:
        return tracing.traceparent_of(None)[0] or ""

    async with AsyncClient(transport=ASGITransport(app), base_url="http://medled") as client:
        response = await client.get("/answer/s3cret?by=anna", headers={"traceparent": REMOTE, "user-agent": "Anna's"})
    inside = response.json()
    (request,) = spans()
    assert (request["name"], request["trace_id"]) == ("GET /answer/{token}", inside[3:35])
    assert request["parent_id"] == "b7ad6b7169203331"
    assert not any(private in json.dumps(request) for private in ("s3cret", "anna", "Anna"))


def test_events_of_one_trace_share_its_id(spans: Spans) -> None:
    with tracing.span("request") as running:
        assert tracing.correlation_id() == f"{running.get_span_context().trace_id:032x}"


def test_each_record_is_processed_below_its_producer_and_linked_from_its_batch(spans: Spans) -> None:
    first, second = envelope(), envelope(REMOTE.replace("0af7", "1bf8"))
    with tracing.batch_span("feedback process", [first, second]):
        contexts = [tracing.record_context(one, consumer="feedback") for one in (first, second)]
        again = tracing.record_context(first, consumer="feedback")
        time.sleep(0.01)
    assert tracing.traceparent_of(again) == tracing.traceparent_of(contexts[0])
    batch, *processed = sorted(spans(), key=lambda span: span["name"])
    assert [span["name"] for span in processed] == ["process medled.round.opened.v1"] * 2
    assert {span["parent_id"] for span in processed} == {"b7ad6b7169203331"}
    assert {span["trace_id"] for span in processed} == {link["trace_id"] for link in batch["links"]}
    assert batch["trace_id"] not in {span["trace_id"] for span in processed}
    assert all(span["end"] - span["start"] >= 10_000_000 for span in processed), "a record takes as long as its batch"


def test_a_failing_batch_marks_its_records(spans: Spans) -> None:
    def process() -> None:
        with tracing.batch_span("feedback process", [1]):
            tracing.record_context(envelope(), consumer="feedback")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        process()
    assert {span["error"] for span in spans()} == {"RuntimeError"}


def test_a_record_outside_a_batch_has_its_span_too(spans: Spans) -> None:
    context = tracing.record_context(envelope(), consumer="feedback")
    (processed,) = spans()
    assert trace.get_current_span(context).get_span_context().span_id == int(processed["span_id"], 16)


def test_a_record_of_an_unsampled_trace_makes_no_span_and_keeps_its_context(spans: Spans) -> None:
    with tracing.batch_span("feedback process", [1]):
        context = tracing.record_context(envelope(UNSAMPLED), consumer="feedback")
    assert tracing.traceparent_of(context) == (UNSAMPLED, None)
    assert [span["name"] for span in spans()] == ["feedback process"]


def test_the_sampler_of_the_environment_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    file = tmp_path / "spans.jsonl"
    telemetry.setup(make_settings(Settings, "postgresql://x", span_file=file), "portal-api")
    try:
        with tracing.span("root"):
            traceparent, _ = tracing.traceparent_of(None)
        with tracing.span("sampled elsewhere", parent=tracing.context_from(REMOTE, None)):
            pass
    finally:
        telemetry.teardown()
    assert traceparent is not None
    assert not int(traceparent[-2:], 16) & 1
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["sampled elsewhere"]


def test_a_span_can_be_linked_to_all_its_causes(spans: Spans) -> None:
    causes = [tracing.context_from(REMOTE, None), tracing.context_from(UNSAMPLED, None)]
    with tracing.span("digest", links=[*causes, Context()]):
        pass
    assert [link["span_id"] for link in spans()[0]["links"]] == ["b7ad6b7169203331"] * 2


def test_processes_that_share_a_file_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from types import SimpleNamespace
from shared.observability import telemetry, tracing
telemetry.setup(SimpleNamespace(span_file=Path(sys.argv[1]), log_format="json"), sys.argv[2])
for number in range(500):
    with tracing.span(f"{sys.argv[2]} {number}"):
        pass
telemetry.teardown()
"""
    file = tmp_path / "spans.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(telemetry.__file__).parents[2])}
    running = [subprocess.Popen([sys.executable, "-c", program, str(file), name], env=environment) for name in "ab"]
    assert [process.wait(timeout=50) for process in running] == [0, 0]
    names = {json.loads(line)["name"] for line in file.read_text().splitlines()}
    assert names == {f"{name} {number}" for name in "ab" for number in range(500)}
