"""The metrics of `harness work --metrics-port`: right numbers, and names and types that Prometheus accepts."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import proc
from harness.errors import HarnessError
from harness.types import Event

client = pytest.importorskip("prometheus_client", reason="pip install 'beads-harness[metrics]'")

from harness.cli.work_metrics import counting, serve  # noqa: E402 - needs the extra

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def story() -> list[Event]:
    """A run that pauses in an outage, in the middle of a task, and goes on."""

    def event(second: int, kind: str, task: str | None = None, **data: Any) -> Event:
        return Event(run_id="r", kind=kind, at=BEGAN + timedelta(seconds=second), task_id=task, data=data)

    return [
        event(0, "run.started"),
        event(1, "task.started", "t1"),
        event(5, "task.attempt", "t1", tier="haiku", outcome="failed"),
        event(9, "run.finished", status="interrupted", usd="0.25"),
        event(20, "run.started"),
        event(21, "task.started", "t1"),
        event(28, "task.attempt", "t1", tier="sonnet", outcome="passed"),
        event(29, "task.finished", "t1", status="done"),
        event(29, "task.finished", "t2", status="skipped"),
        event(30, "run.finished", status="done", usd="1.00"),
    ]


def told() -> dict[str, float]:
    book = client.CollectorRegistry()
    listen = counting(book)
    for event in story():
        listen(event)
    return {
        f"{sample.name}{''.join(f'/{value}' for value in sample.labels.values())}": sample.value
        for family in book.collect()
        for sample in family.samples
    }


def test_what_is_counted() -> None:
    found = told()
    assert found["harness_runs_total/interrupted"] == found["harness_runs_total/done"] == 1
    assert found["harness_runs_active"] == found["harness_tasks_active"] == 0
    assert found["harness_tasks_total/done"] == found["harness_tasks_total/skipped"] == 1
    assert found["harness_attempts_total/haiku/failed"] == found["harness_attempts_total/sonnet/passed"] == 1
    assert found["harness_cost_usd_total"] == 1.0  # not 1.25: a run that goes on tells its whole cost
    assert (found["harness_run_seconds_count"], found["harness_run_seconds_sum"]) == (2, 19)
    assert (found["harness_task_seconds_count"], found["harness_task_seconds_sum"]) == (1, 8)


@pytest.mark.needs_prometheus
async def test_promtool_has_nothing_to_say() -> None:
    book = client.CollectorRegistry()
    listen = counting(book)
    for event in story():
        listen(event)
    done = await proc.run(["promtool", "check", "metrics"], stdin=client.generate_latest(book))
    assert (done.exit_code, done.output) == (0, "")


def test_a_taken_port_is_the_users_to_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(HarnessError, match="in use"):
        serve(taken.getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.needs_prometheus
@pytest.mark.timeout(120)
def test_a_prometheus_scrapes_them(tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    listen = serve(port)
    for event in story():
        listen(event)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: harness, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    argv = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{own}"]  # fmt: skip
    found: list[Any] = []
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 60
            query = urllib.parse.quote('sum by (status) (harness_runs_total{job="harness"})')
            while not found and time.monotonic() < end:
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    with urllib.request.urlopen(f"http://127.0.0.1:{own}/api/v1/query?query={query}") as answer:
                        found = json.load(answer)["data"]["result"]
        finally:
            server.terminate()
    assert {row["metric"]["status"]: row["value"][1] for row in found} == {"interrupted": "1", "done": "1"}
