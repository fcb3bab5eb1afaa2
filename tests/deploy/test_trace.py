"""`medled trace` prints what the processes wrote: one tree over all of them, with the batches that carried it."""

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode, Tracer, set_span_in_context

from shared.observability.spans import SpanFile
from tests.support.commands import medled


@pytest.fixture
def tracers(tmp_path: Path) -> list[Tracer]:
    """Of two processes, writing as services do."""
    made = []
    for name in ("enrolment-api", "feedback-worker"):
        provider = TracerProvider(resource=Resource.create({"service.name": f"medled-{name}"}))
        provider.add_span_processor(SimpleSpanProcessor(SpanFile(tmp_path / "spans" / f"{name}.jsonl")))
        made.append(provider.get_tracer("test"))
    return made


def play(api: Tracer, worker: Tracer) -> tuple[str, str]:
    """A request whose event is processed in a batch, and fails there; ids of its trace and of the batch's."""
    request = api.start_span("POST /enrolment/v1/enrolments")
    process = worker.start_span("process medled.enrolment.requested.v1", set_span_in_context(request))
    batch = worker.start_span(
        "feedback process", links=[Link(process.get_span_context())], attributes={"messaging.batch.message_count": 1}
    )
    process.set_status(Status(StatusCode.ERROR, "ValueError"))
    for span in (process, batch, request):
        span.end()
    return f"{request.get_span_context().trace_id:032x}", f"{batch.get_span_context().trace_id:032x}"


async def test_a_trace_is_one_tree_over_all_processes(tracers: list[Tracer], tmp_path: Path) -> None:
    trace, batch = play(*tracers)
    play(*tracers)
    ended = await medled(tmp_path, "trace", trace)
    assert ended.exit_code == 0, ended.output
    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    assert lines[0].startswith(f"trace {trace}: 2 spans in ")
    assert lines[0].endswith("by enrolment-api, feedback-worker")
    request, process = lines[-2:]
    assert request.startswith("+0.0 ms")
    assert "enrolment-api" in request
    assert f"  process medled.enrolment.requested.v1  FAILED ValueError  (in a batch: trace {batch})" in process
    assert process.index("process") > request.index("POST"), "a child stands further in"


async def test_the_batch_names_the_traces_it_carried(tracers: list[Tracer], tmp_path: Path) -> None:
    trace, batch = play(*tracers)
    ended = await medled(tmp_path, "trace", batch)
    assert f"of trace {trace}" in ended.stdout


async def test_where_a_trace_goes_on_in_another_one_it_says_so(tracers: list[Tracer], tmp_path: Path) -> None:
    deliver = tracers[1].start_span("deliver mail")
    apart = tracers[1].start_span("announce mail", links=[Link(deliver.get_span_context())])
    for span in (apart, deliver):
        span.end()
    shown = (await medled(tmp_path, "trace", f"{deliver.get_span_context().trace_id:032x}")).stdout
    assert f"deliver mail  (goes on apart: trace {apart.get_span_context().trace_id:032x})" in shown


async def test_the_first_digits_of_a_trace_will_do(tracers: list[Tracer], tmp_path: Path) -> None:
    trace, _ = play(*tracers)
    assert (await medled(tmp_path, "trace", trace[:8])).stdout.startswith(f"trace {trace}: 2 spans")


async def test_what_was_delivered_again_is_one_line_that_says_so(tracers: list[Tracer], tmp_path: Path) -> None:
    api, worker = tracers
    request = api.start_span("POST /enrolment/v1/enrolments")
    for _ in range(3):
        worker.start_span("process x", set_span_in_context(request), attributes={"messaging.message.id": "m"}).end()
    worker.start_span("process x", set_span_in_context(request), attributes={"messaging.message.id": "other"}).end()
    request.end()
    shown = (await medled(tmp_path, "trace", f"{request.get_span_context().trace_id:032x}")).stdout
    assert shown.count("process x") == 2
    assert "process x  (delivered again 2 times)" in shown


async def test_as_json_the_tree_is_whole(tracers: list[Tracer], tmp_path: Path) -> None:
    trace, batch = play(*tracers)
    document: dict[str, Any] = json.loads((await medled(tmp_path, "trace", trace.upper(), "--json")).stdout)
    [root] = document["roots"]
    assert root["name"] == "POST /enrolment/v1/enrolments"
    assert root["children"][0]["linked_from"] == [
        {"trace_id": batch, "name": "feedback process", "service": "medled-feedback-worker", "batch": True}
    ]


async def test_an_unknown_trace_is_said_in_a_sentence(tmp_path: Path) -> None:
    unknown = await medled(tmp_path, "trace", "0" * 31 + "1")
    assert unknown.exit_code == 1
    assert unknown.stderr.startswith("Nothing is known of trace")
    assert (await medled(tmp_path, "trace", "4711")).exit_code == 2


async def test_a_line_that_is_still_being_written_is_left_out(tracers: list[Tracer], tmp_path: Path) -> None:
    trace, _ = play(*tracers)
    with (tmp_path / "spans" / "enrolment-api.jsonl").open("a") as file:
        file.write(f'{{"trace_id": "{trace}", "na')
    assert "2 spans" in (await medled(tmp_path, "trace", trace)).stdout
