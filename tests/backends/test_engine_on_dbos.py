"""The whole flow over machines: a planned run whose tasks real `harness worker` processes do, one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
import yaml

from harness import registry
from harness.config.settings import load_settings
from harness.engine import Wishes, run_issue
from harness.types import Issue, Run
from tests.backends.conftest import clone, git

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(180)]

TASKS = ("t1", "t2", "t3")
PLAN = {
    "summary": "three files",
    "tasks": [
        {
            "id": name,
            "title": f"Write {name}",
            "instructions": "",
            "files": [f"{name}.txt"],
            "verify": [f"test -s {name}.txt"],
            "depends_on": ["t1", "t2"] if name == "t3" else [],
            "tier": None,
        }
        for name in TASKS
    ],
}


def reply(name: str, seconds: float) -> dict[str, object]:
    """A worker's session: it notes that it began, takes its time, writes its file."""
    command = f"sleep {seconds}; echo {name} > {name}.txt"
    turns = [{"tools": [{"name": "bash", "input": {"command": command}}]}, {"text": "Done."}]
    return {"when": {"phase": "execute", "task": name}, "turns": turns}


def configure(place: Path, database: str, seconds: float) -> None:
    script = {"replies": [{"when": {"phase": "plan"}, "json": PLAN}, *(reply(name, seconds) for name in TASKS)]}
    (place / "script.yaml").write_text(yaml.safe_dump(script))
    (place / ".beads").mkdir()
    (place / ".beads" / "issues.jsonl").write_text('{"id": "i-1", "title": "Three files", "status": "open"}\n')
    settings = {
        "database": database,
        "lease_seconds": 3,
        "models": {"script": str(place / "script.yaml")},
        "tracker": {"kind": "jsonl"},
    }
    (place / "harness.yaml").write_text(yaml.safe_dump(settings))


class Workers:
    def __init__(self, folder: Path, remote: Path, database: str) -> None:
        self.folder, self.remote, self.database = folder, remote, database
        self.running: list[subprocess.Popen[str]] = []

    def start(self, seconds: float) -> subprocess.Popen[str]:
        place = clone(self.remote, self.folder / f"machine{len(self.running)}")
        home = self.folder / f"home{len(self.running)}"
        home.mkdir()
        configure(place, self.database, seconds)
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "worker", "--parallel", "2"],
            cwd=place,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
        )
        self.running.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving"), line + process.stderr.read()
        return process

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


@pytest.fixture
def workers(tmp_path: Path, remote: Path, database: str) -> Iterator[Workers]:
    made = Workers(tmp_path, remote, database)
    yield made
    made.stop()


async def worked(office: Path, watch: Callable[[object], None] = lambda event: None) -> Run:
    settings = load_settings(office, None, {"backend": "dbos", "max_parallel": 3})
    issue = Issue(id="i-1", title="Three files", labels=("pipeline:plan-execute-review",))
    async with registry.build(settings, [watch]) as deps:
        return await run_issue(issue, deps, lambda name: registry.pipeline(name, settings), Wishes(land="none"))


async def test_a_run_over_two_machines(workers: Workers, tmp_path: Path, remote: Path, database: str) -> None:
    office = clone(remote, tmp_path / "office")
    configure(office, database, 0)
    workers.start(0.2)
    workers.start(0.2)
    run = await worked(office)
    assert (run.status, run.error) == ("done", None)
    assert run.integration is not None
    assert [git(office, "show", f"{run.integration.commit}:{name}.txt") for name in TASKS] == list(TASKS)
    assert {attempt.worker.split(":")[1] for result in run.results for attempt in result.attempts} <= {
        str(process.pid) for process in workers.running
    }
    assert run.usage.requests >= 1 + 2 * len(TASKS)
    assert git(office, "status", "--porcelain").splitlines() == ["?? .beads/", "?? harness.yaml", "?? script.yaml"]


async def test_a_run_goes_on_when_a_machine_is_killed(
    workers: Workers, tmp_path: Path, remote: Path, database: str
) -> None:
    office = clone(remote, tmp_path / "office")
    configure(office, database, 0)
    doomed = workers.start(30)
    runs: list[Run] = []

    async def ask() -> None:
        runs.append(await worked(office))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(3)
        doomed.kill()
        await anyio.to_thread.run_sync(workers.start, 0.1)
    assert (runs[0].status, runs[0].error) == ("done", None)
    assert len(runs[0].results) == 3
