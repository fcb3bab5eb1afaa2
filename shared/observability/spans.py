"""Finished spans as JSON lines, for the embedded stack and the tests; and what no span may carry."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState
from opentelemetry.util.types import Attributes
from pydantic_core import to_json

# A link's token stands in the path, people's addresses in queries: spans carry the route's template instead.
FORBIDDEN = frozenset(
    {
        "client.address", "enduser.id", "http.client_ip", "http.target", "http.url", "http.user_agent", "net.peer.ip",
        "network.peer.address", "url.full", "url.path", "url.query", "user_agent.original",
    }
)  # fmt: skip


class NoPersonalData(Sampler):
    """Samples as `inner` does, without the attributes in FORBIDDEN that instrumentation gives a span at its start."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if attributes and not FORBIDDEN.isdisjoint(attributes):
            attributes = {key: value for key, value in attributes.items() if key not in FORBIDDEN}
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"NoPersonalData({self._inner.get_description()})"


class SpanFile(SpanExporter):
    """Appends one JSON line per finished span. Several processes may share a file: each batch is one append."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = b"".join(to_json(span_as_json(span)) + b"\n" for span in spans)
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        os.close(self._file)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - nothing is held back here
        return True


def span_as_json(span: ReadableSpan) -> dict[str, Any]:
    """What `medled trace` reads: ids in hexadecimal, times in nanoseconds since 1970, `parent_id` null for a root."""
    context = span.context or SpanContext(0, 0, is_remote=False)
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "service": span.resource.attributes.get("service.name"),
        "start": span.start_time,
        "end": span.end_time,
        "status": span.status.status_code.name.lower(),
        "error": span.status.description,
        "attributes": dict(span.attributes or {}),
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
    }
