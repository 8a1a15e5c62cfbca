"""OpenTelemetry spans with the GenAI attributes, one for each request. Needs the `metrics` extra."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from harness import __version__
from harness.gateway.exchange import Record

_SECOND = 1_000_000_000


class Tracing:
    """Spans are made after the answer, from the record, and sent in batches: no request waits for them.

    Prompts and replies are not in them. `sampling` is a share, 0 to 1; a caller's own sampling decision wins.
    """

    def __init__(self, url: str, sampling: float = 1.0, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": "harness-gateway", "service.version": __version__})
        self._provider = TracerProvider(sampler=ParentBasedTraceIdRatio(sampling), resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("harness.gateway", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, record: Record, traceparent: str | None) -> None:
        carrier = {"traceparent": traceparent} if traceparent else {}
        provider, _, model = (record.model or record.requested or "none").partition("/")
        begun = int(record.at * _SECOND)
        span = self._tracer.start_span(
            f"chat {record.model or record.requested}",
            self._propagator.extract(carrier),
            SpanKind.CLIENT,
            start_time=begun,
            attributes={"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider,
                        "gen_ai.request.model": record.requested, "gen_ai.response.model": model,
                        "http.response.status_code": record.status, "harness.reason": record.reason,
                        "harness.stream": record.stream, "harness.translated": record.translated},
        )  # fmt: skip
        if record.usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", record.usage.total_input)
            span.set_attribute("gen_ai.usage.output_tokens", record.usage.output_tokens)
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", record.usage.cache_read_tokens)
        for name, value in (
            ("harness.route", record.route),
            ("harness.usd", record.usd),
            ("session.id", record.session),
        ):
            if value is not None:
                span.set_attribute(name, value)
        if record.error is not None:
            span.set_status(Status(StatusCode.ERROR, record.error))
        span.end(begun + int(record.seconds * _SECOND))

    def close(self) -> None:
        self._provider.shutdown()
