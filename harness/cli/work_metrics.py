"""Prometheus metrics of `harness work --metrics-port`; loaded only then."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from harness.errors import HarnessError
from harness.protocols import Emit
from harness.types import UNFINISHED, Event

RUN_SECONDS = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
TASK_SECONDS = (5, 15, 30, 60, 120, 300, 600, 1200, 3600)


def serve(port: int) -> Emit:
    """Serve metrics on 127.0.0.1:`port` and return the listener that counts; raises HarnessError for a taken port."""
    book = CollectorRegistry()
    count = counting(book)
    try:
        start_http_server(port, addr="127.0.0.1", registry=book)
    except OSError as error:
        raise HarnessError(
            f"--metrics-port {port}: {error.strerror}", f"another program may have it: ss -ltnp 'sport = :{port}'"
        ) from None
    return count


def counting(book: CollectorRegistry) -> Emit:
    """A listener that counts in `book` what happens to runs and tasks, and what they cost."""
    counts = _Counts(book)

    def listen(event: Event) -> None:
        do = getattr(counts, event.kind.replace(".", "_"), None)
        if do is not None:
            do(event, str(event.data.get("status", "unknown")))

    return listen


class _Counts:
    """One method an event."""

    def __init__(self, book: CollectorRegistry) -> None:
        self._runs = Counter("harness_runs", "Runs ended, by status.", ["status"], registry=book)
        self._active = Gauge("harness_runs_active", "Runs under way.", registry=book)
        self._run_seconds = Histogram("harness_run_seconds", "Duration of runs.", registry=book, buckets=RUN_SECONDS)
        self._tasks = Counter("harness_tasks", "Tasks ended, by status.", ["status"], registry=book)
        self._tasks_active = Gauge("harness_tasks_active", "Tasks under way.", registry=book)
        self._task_seconds = Histogram(
            "harness_task_seconds", "Duration of tasks, all attempts.", registry=book, buckets=TASK_SECONDS
        )
        self._attempts = Counter(
            "harness_attempts", "Attempts at tasks ended, by tier and outcome.", ["tier", "outcome"], registry=book
        )
        self._usd = Counter("harness_cost_usd", "US dollars spent by runs.", registry=book)
        self._began: dict[tuple[str, str | None], datetime] = {}
        self._told: dict[str, Decimal] = {}
        """Cost that is counted already of runs that may go on."""

    def run_started(self, event: Event, status: str) -> None:
        self._active.inc()
        self._began[event.run_id, None] = event.at

    def run_finished(self, event: Event, status: str) -> None:
        self._active.dec()
        self._runs.labels(status).inc()
        self._observe(self._run_seconds, event)
        # A run that goes on after a pause tells its whole cost again.
        usd = Decimal(str(event.data.get("usd", 0)))
        self._usd.inc(float(max(Decimal(0), usd - self._told.pop(event.run_id, Decimal(0)))))
        if status in UNFINISHED:
            self._told[event.run_id] = usd
        for key in [key for key in self._began if key[0] == event.run_id]:
            self._tasks_active.dec()  # stopped in the middle
            del self._began[key]

    def task_started(self, event: Event, status: str) -> None:
        self._tasks_active.inc()
        self._began[event.run_id, event.task_id] = event.at

    def task_attempt(self, event: Event, status: str) -> None:
        self._attempts.labels(str(event.data.get("tier")), str(event.data.get("outcome"))).inc()

    def task_finished(self, event: Event, status: str) -> None:
        self._tasks.labels(status).inc()
        if (event.run_id, event.task_id) in self._began:
            self._tasks_active.dec()
            self._observe(self._task_seconds, event)

    def _observe(self, seconds: Histogram, event: Event) -> None:
        began = self._began.pop((event.run_id, event.task_id), None)
        if began is not None:
            seconds.observe(max(0.0, (event.at - began).total_seconds()))
