"""Traces with OpenTelemetry, over OTLP; loaded when they are configured. Needs the `otel` extra.

The standard variables hold: OTEL_EXPORTER_OTLP_*, OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*, and TRACEPARENT for whoever starts us inside a trace of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Span as OpenTelemetrySpan
from opentelemetry.trace import SpanKind, Status, StatusCode, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from harness import __version__
from harness.config.reading import environment
from harness.config.settings import Settings
from harness.errors import ConfigError
from harness.redact import redact
from harness.spans import Attribute, Kind, Span, Spans

CLOSING_SECONDS = 5.0
"""How long a collector that does not answer may hold up the end of a command."""
PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
W3C = TraceContextTextMapPropagator()
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class Recorded(Span):
    """A span that OpenTelemetry keeps. Texts are redacted; those that may be content are left out unless wanted."""

    def __init__(self, span: OpenTelemetrySpan, content: bool) -> None:
        self.span, self._content = span, content
        context = span.get_span_context()
        self.ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        self.span.set_attributes(plain(attributes))

    def event(self, name: str, attributes: Mapping[str, Attribute | None]) -> None:
        self.span.add_event(name, plain(attributes))

    def fail(self, kind: str, message: str = "") -> None:
        self.span.set_attribute("error.type", kind)
        self.span.set_status(Status(StatusCode.ERROR, redact(message) if self._content and message else kind))

    def end(self) -> None:
        self.span.end()


class Telemetry(Spans):
    """Spans that are sent to a collector in batches; nothing waits for it."""

    recording = True

    def __init__(self, provider: TracerProvider, content: bool = False, propagate: bool = False) -> None:
        self._provider, self.content, self.propagate = provider, content, propagate
        self._tracer = provider.get_tracer("harness", __version__)
        self._outer = W3C.extract({"traceparent": environment().get("TRACEPARENT", "")})

    def begin(
        self,
        name: str,
        attributes: Mapping[str, Attribute | None],
        kind: Kind = "internal",
        parent: Mapping[str, str] | None = None,
    ) -> Recorded:
        span = self._tracer.start_span(name, self._context(parent), _KINDS[kind], plain(attributes))
        return Recorded(span, self.content)

    def carrier(self) -> dict[str, str]:
        carried: dict[str, str] = {}
        W3C.inject(carried)
        return carried

    def close(self) -> None:
        shut_down(self._provider)

    def _context(self, parent: Mapping[str, str] | None) -> Context | None:
        if parent:
            return W3C.extract(parent)
        return None if self.carrier() else self._outer

    def _inside(self, span: Span) -> AbstractContextManager[object]:
        assert isinstance(span, Recorded)
        return use_span(span.span, record_exception=False, set_status_on_exception=False)


def start(settings: Settings) -> Telemetry:
    """Spans for the collector that the environment names; raises ConfigError for a protocol that is not installed."""
    content = settings.tracing.content and settings.content
    return Telemetry(provider("harness", exporter(settings)), content, settings.tracing.propagate)


def provider(service: str, to: SpanExporter, sampler: Sampler | None = None) -> TracerProvider:
    """OpenTelemetry's own tracer provider, set up as the environment says; `service` is its name by default."""
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": service}))
    made = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(to))
    return made


def exporter(settings: Settings) -> SpanExporter:
    """What OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL ask for; OTLP over HTTP when they are silent."""
    variables = environment()
    wanted = variables.get("OTEL_TRACES_EXPORTER", "otlp").strip()
    if wanted == "otlp":
        protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        if protocol in (None, "", "http/protobuf"):
            return OTLPSpanExporter()
        wanted = PROTOCOLS.get(str(protocol), str(protocol))
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=wanted)), None)
    if found is None:
        package = "opentelemetry-exporter-otlp-proto-grpc" if wanted == "otlp_proto_grpc" else "the package that has it"
        cure = "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (collectors listen on port 4318), or"
        problem = f"there is no trace exporter '{wanted}'"
        raise ConfigError(settings.source, ("tracing",), problem, f"{cure} install {package}")
    made: SpanExporter = found.load()()
    return made


def shut_down(provider: TracerProvider) -> None:
    """Send what is waiting, but wait no longer than CLOSING_SECONDS for a collector that does not answer."""
    closing = threading.Thread(target=provider.shutdown, name="telemetry-shutdown", daemon=True)
    closing.start()
    closing.join(CLOSING_SECONDS)


def plain(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    """Attributes without those that are None, and without credentials."""
    return {name: _redacted(value) for name, value in attributes.items() if value is not None}


def _redacted(value: Attribute) -> Attribute:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bool | int | float):
        return value
    return [redact(text) for text in value]
