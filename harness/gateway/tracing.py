"""A span for each request of the gateway, in the words that all our model calls have. Needs the `otel` extra."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, Status, StatusCode

from harness import __version__
from harness.config.settings import Settings
from harness.gateway.exchange import Record
from harness.models.genai import called, spent
from harness.spans import Attribute
from harness.telemetry import W3C, exporter, plain, provider, shut_down

_SECOND = 1_000_000_000


class Tracing:
    """Spans are made after the answer, from the record, and sent in batches: no request waits for them.

    Prompts and replies are not in them. With a `url` (an OTLP endpoint over HTTP) `sampling` is a share, 0 to 1;
    without one the collector and the sampler are those of the environment. A caller's own sampling decision wins.
    """

    def __init__(
        self, url: str | None, sampling: float = 1.0, settings: Settings | None = None, to: SpanExporter | None = None
    ) -> None:
        if url is not None:
            to = to or OTLPSpanExporter(endpoint=url)
            self._provider = provider("harness-gateway", to, ParentBasedTraceIdRatio(sampling))
        else:
            self._provider = provider("harness-gateway", to or exporter(settings or Settings()))
        self._tracer = self._provider.get_tracer("harness.gateway", __version__)

    def __call__(self, record: Record, traceparent: str | None) -> None:
        by, _, model = (record.model or record.requested or "none").partition("/")
        begun = int(record.at * _SECOND)
        attributes: dict[str, Attribute | None] = {
            **called("chat", by, record.requested),
            "gen_ai.response.model": model,
            "gen_ai.request.stream": record.stream,
            "gen_ai.conversation.id": record.session,
            "session.id": record.session,
            "http.response.status_code": record.status,
            "harness.reason": record.reason,
            "harness.route": record.route,
            "harness.translated": record.translated,
        }
        if record.usage is not None:
            attributes |= spent(record.usage) | {"harness.cost.usd": None if record.usd is None else float(record.usd)}
        span = self._tracer.start_span(
            f"chat {record.model or record.requested}",
            W3C.extract({"traceparent": traceparent} if traceparent else {}),
            SpanKind.CLIENT,
            start_time=begun,
            attributes=plain(attributes),
        )
        for trouble in record.fallbacks:
            span.add_event("harness.fallback", plain({"harness.model": trouble.partition(":")[0]}), begun)
        if record.error is not None:
            span.set_attribute("error.type", str(record.status) if record.status >= 400 else "incomplete")
            span.set_status(Status(StatusCode.ERROR, str(record.status)))
        span.end(begun + int(record.seconds * _SECOND))

    def close(self) -> None:
        shut_down(self._provider)
