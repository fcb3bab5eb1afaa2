"""Trace context is data: rows and records carry it, and whatever they cause continues it."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from shared.events.envelope import Envelope
from shared.observability.telemetry import W3C, is_exporting, tracer

Attributes = Mapping[str, str | bool | int | float]


_MOST_LINKS = 100  # of one batch span; the SDK's own limit is 128


_open_records: ContextVar[dict[UUID, Span] | None] = ContextVar("open_records", default=None)


def traceparent_of(context: Context | None) -> tuple[str | None, str | None]:
    """`traceparent` and `tracestate` of a context, of the current one when None; (None, None) outside any trace."""
    span = trace.get_current_span(context).get_span_context()
    if not span.is_valid:
        return None, None
    traceparent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return traceparent, span.trace_state.to_header() if span.trace_state else None


def traceresponse() -> str | None:
    """What a response says of the trace it was made in, to ask about later; None outside any trace."""
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-01" if span.is_valid else None


@lru_cache(maxsize=2048)
def context_from(traceparent: str | None, tracestate: str | None) -> Context:
    """The context that stored headers describe; an empty one when there are none or they are broken.

    Cached, since the records of one transaction share it.
    """
    if traceparent is None:
        return Context()
    return W3C.extract({"traceparent": traceparent, "tracestate": tracestate or ""}, context=Context())


def correlation_id() -> str | None:
    """What ties events of one undertaking together: the current trace's id; None outside any trace."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else None


@contextmanager
def span(
    name: str,
    *,
    parent: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Context] = (),
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """Run under a new span. A failure is recorded by its class only: messages can quote what people wrote."""
    causes = [trace.get_current_span(context).get_span_context() for context in links]
    ends = [Link(cause) for cause in causes if cause.is_valid]
    running = tracer().start_span(name, parent, kind, attributes, ends)
    token = attach(trace.set_span_in_context(running, parent))
    try:
        yield running
    except BaseException as error:
        _failed(running, type(error).__name__)
        raise
    finally:
        detach(token)
        running.end()


def _failed(failing: Span, error: str) -> None:
    failing.set_attribute("error.type", error)
    failing.set_status(Status(StatusCode.ERROR, error))


def record_span(name: str, parent_context: Context, attributes: Attributes) -> Span | None:
    """A consumer span for one record, to be ended by the caller; None when nobody would see it.

    Called for every record: without an exporter, or under a trace that is not sampled, it costs nothing.
    """
    if not is_exporting():
        return None
    parent = trace.get_current_span(parent_context).get_span_context()
    if parent.is_valid and not parent.trace_flags.sampled:
        return None
    return tracer().start_span(name, parent_context, SpanKind.CONSUMER, attributes)


def record_context(envelope: "Envelope", *, consumer: str) -> Context:
    """The context in which one record is processed: its span, a child of the producer's.

    Within `batch_span` the span is linked from the batch and ends with it, and a record that is tried again keeps it.
    """
    parent = context_from(envelope.traceparent, envelope.tracestate)
    if not is_exporting():
        return parent
    records = _open_records.get()
    if records is not None and (known := records.get(envelope.id)) is not None:
        return trace.set_span_in_context(known, parent)
    process = record_span(
        f"process {envelope.type}",
        parent,
        {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.message.id": str(envelope.id),
            "messaging.consumer.group.name": consumer,
        },
    )
    if process is None:
        return parent
    if records is None:
        process.end()  # tried alone, outside a batch: what it causes still hangs below it
    else:
        records[envelope.id] = process
        if len(records) <= _MOST_LINKS:
            trace.get_current_span().add_link(process.get_span_context())
    return trace.set_span_in_context(process, parent)


@contextmanager
def batch_span(name: str, records: Sized) -> Iterator[None]:
    """Run a batch of records under a trace of its own, linked to each record's span; they end together."""
    opened: dict[UUID, Span] = {}
    token = _open_records.set(opened)
    failure: str | None = None
    try:
        with span(name, parent=Context(), attributes={"messaging.batch.message_count": len(records)}):
            yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        _open_records.reset(token)
        for process in opened.values():
            if failure:
                _failed(process, failure)
            process.end()
        opened.clear()  # a connection that was opened meanwhile keeps this context
