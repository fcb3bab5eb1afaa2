"""Traces and metrics (OpenTelemetry, W3C propagation only). Trace context is data: rows and records carry it."""

import os
from dataclasses import dataclass

from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.observability import logs
from shared.observability.spans import NoPersonalData, SpanFile
from shared.settings import Settings

W3C = TraceContextTextMapPropagator()
_SCOPE = "medled"
# A burst must not push spans of an ordinary request out of the queue; a span waits about 2 KB large.
_QUEUE, _EXPORT_BATCH, _DELAY_MS = 32_768, 2_048, 150


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What one process reports with."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    exports: bool

    def shutdown(self) -> None:
        """Send what is still queued and stop."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


_current: Telemetry | None = None
_tracer: Tracer = trace.NoOpTracer()


def setup(settings: Settings, service: str) -> Telemetry:
    """Start logging, tracing and metrics for this process; `service` is like `enrolment-api`.

    Spans go to `settings.span_file` and, when OTEL_EXPORTER_OTLP_ENDPOINT is set, over OTLP/HTTP together with metrics.
    The other OTEL_ variables (OTEL_TRACES_SAMPLER ...) mean what the specification says.
    """
    global _current, _tracer  # noqa: PLW0603 - one process reports as one
    name = f"medled-{service}"
    logs.setup(settings.log_format, name)
    propagate.set_global_textmap(W3C)
    resource = Resource.create(
        {"service.name": name, "service.namespace": "medled", "service.instance.id": logs.instance()}
    )
    provider = TracerProvider(resource=resource)
    provider.sampler = NoPersonalData(provider.sampler)
    readers = []
    otlp = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if otlp:  # imported here, since a process that exports nothing need not hold them in memory
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=_QUEUE))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if settings.span_file is not None:
        exporter = SpanFile(settings.span_file)
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE,
                max_export_batch_size=_EXPORT_BATCH,
                schedule_delay_millis=_DELAY_MS,
            )
        )
    _current = Telemetry(provider, MeterProvider(readers, resource), exports=otlp or settings.span_file is not None)
    _tracer = provider.get_tracer(_SCOPE)
    return _current


def teardown() -> None:
    """Send what is still queued and report nothing from here on."""
    global _current, _tracer
    if _current is not None:
        _current.shutdown()
    _current, _tracer = None, trace.NoOpTracer()


def tracer() -> Tracer:
    """This process's tracer; one that does nothing before `setup`."""
    return _tracer


def is_exporting() -> bool:
    """Whether anybody would see a span that is made now."""
    return _current is not None and _current.exports


def tracer_provider() -> trace.TracerProvider:
    """For instrumentation that takes a provider."""
    return _current.tracer_provider if _current else trace.NoOpTracerProvider()


def meter_provider() -> metrics.MeterProvider:
    """For instrumentation that takes a provider."""
    return _current.meter_provider if _current else metrics.NoOpMeterProvider()


def meter() -> Meter:
    """This process's meter; one that does nothing before `setup`, so make instruments after it."""
    return meter_provider().get_meter(_SCOPE)
