"""Prometheus metrics of `harness work --metrics-port`; loaded only then."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from harness.protocols import Emit
from harness.types import Event


def serve(port: int) -> Emit:
    """Serve metrics on 127.0.0.1:`port` and return the listener that counts."""
    book = CollectorRegistry()
    count = counting(book)
    start_http_server(port, addr="127.0.0.1", registry=book)
    return count


def counting(book: CollectorRegistry) -> Emit:
    """A listener that counts runs, tasks and dollars in `book`."""
    runs = Counter("harness_runs", "Runs ended, by status.", ["status"], registry=book)
    active = Gauge("harness_runs_active", "Runs under way.", registry=book)
    tasks = Counter("harness_tasks", "Tasks ended, by status.", ["status"], registry=book)
    usd = Counter("harness_usd", "US dollars of ended runs, earlier parts of resumed ones included.", registry=book)

    def listen(event: Event) -> None:
        status = str(event.data.get("status", "unknown"))
        if event.kind == "run.started":
            active.inc()
        elif event.kind == "run.finished":
            active.dec()
            runs.labels(status).inc()
            usd.inc(float(event.data.get("usd", 0)))
        elif event.kind == "task.finished":
            tasks.labels(status).inc()

    return listen
