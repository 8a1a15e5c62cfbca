"""An OTLP collector: an HTTP server that takes trace exports and keeps the spans in them, decoded."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One span as it arrived."""

    name: str
    id: str
    parent: str
    trace: str
    attributes: dict[str, Any]
    error: bool
    message: str
    events: tuple[tuple[str, dict[str, Any]], ...]
    service: str


@dataclass
class Collector:
    url: str
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def named(self, start: str) -> list[Seen]:
        return [span for span in self.spans if span.name.startswith(start)]

    def parent(self, span: Seen) -> Seen | None:
        return next((other for other in self.spans if other.id == span.parent), None)

    def lineage(self, span: Seen) -> list[str]:
        """Names from the root down to the span."""
        names: list[str] = []
        here: Seen | None = span
        while here is not None:
            names.insert(0, here.name)
            here = self.parent(here)
        return names


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.raw.append(body)
            if self.path == "/v1/traces":
                collector.spans += _decoded(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *told: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _decoded(request: Any) -> list[Seen]:
    return [
        Seen(
            name=span.name,
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            trace=span.trace_id.hex(),
            attributes=_plain(span.attributes),
            error=span.status.code == 2,
            message=span.status.message,
            events=tuple((event.name, _plain(event.attributes)) for event in span.events),
            service=str(_plain(resource.resource.attributes).get("service.name")),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
