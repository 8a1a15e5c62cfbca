"""`harness work --backend dbos` and `harness worker` as users start them: processes, clones, a database, SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from harness.cli import main
from tests.backends.conftest import clone, git
from tests.fakes.collector import collecting
from tests.fakes.places import issues, row, told

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(240)]

PASSWORD = "correct-horse-battery"


def writes(issue: str, first: Any = None, seconds: float = 0.0) -> dict[str, Any]:
    """A session of two paid turns; the second reply may take its time."""
    tools = [{"name": "bash", "input": {"command": f"echo {issue} > {issue}.txt"}}]
    turns = [
        first or {"tools": tools},
        {"tools": [{"name": "finish", "input": {"summary": "Done."}}], "seconds": seconds},
    ]
    return {"when": {"phase": "execute", "issue": issue}, "turns": turns}


REFUSED = {"error": {"kind": "bad_request"}}


class Team:
    """A scheduler's clone and any number of worker machines: each with its own clone, cache and HOME."""

    def __init__(self, folder: Path, remote: Path, database: str) -> None:
        self.folder, self.remote, self.database = folder, remote, database
        self.workers: list[subprocess.Popen[str]] = []
        self.variables: dict[str, str] = {}

    def environment(self, home: Path) -> dict[str, str]:
        home.mkdir(exist_ok=True)
        url = self.database.replace("harness@", f"harness:{PASSWORD}@")
        return {"PATH": os.environ["PATH"], "HOME": str(home), "HARNESS_DATABASE_URL": url} | self.variables

    def place(self, name: str, replies: list[dict[str, Any]], names: list[str] | None = None) -> Path:
        place = clone(self.remote, self.folder / name)
        script = self.folder / f"{name}.yaml"
        script.write_text(yaml.safe_dump({"replies": replies}))
        data = {"lease_seconds": 3, "models": {"script": str(script)}, "tracker": {"kind": "jsonl"}}
        (place / "harness.yaml").write_text(yaml.safe_dump(data))
        (place / ".beads").mkdir()
        issues(place).write_text("".join(json.dumps(row(issue)) + "\n" for issue in names or ()))
        return place

    def worker(self, *replies: dict[str, Any]) -> subprocess.Popen[str]:
        name = f"place{len(self.workers)}"
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "worker", "--parallel", "2"],
            cwd=self.place(name, list(replies)), stderr=subprocess.PIPE, text=True,
            env=self.environment(self.folder / f"home-{name}"),
        )  # fmt: skip
        self.workers.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serving" in line, line + process.stderr.read()
        return process

    def work(self, place: Path, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "work", "--backend", "dbos", "--json", "--log-json", *argv],
            cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(self.folder / "home-office"),
        )  # fmt: skip

    def steps(self, key: str) -> int:
        with psycopg.connect(self.database) as db:
            found = db.execute("SELECT count(*) FROM harness.steps WHERE key LIKE %s", (f"%{key}",)).fetchone()
        assert found is not None
        return int(found[0])

    def held(self, run: str) -> int:
        """Rows of a run, in all tables that tell whose they are."""
        with psycopg.connect(self.database) as db:
            found = db.execute("SELECT count(*) FROM dbos.workflow_status WHERE workflow_uuid LIKE %s", (f"%/{run}/%",))
            rows = found.fetchone()
        assert rows is not None
        return int(rows[0])

    def until_recorded(self, key: str) -> None:
        end = time.monotonic() + 60
        while not self.steps(key):
            assert time.monotonic() < end, f"no {key} was recorded"
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.workers:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


@pytest.fixture
def team(tmp_path: Path, remote: Path, database: str) -> Iterator[Team]:
    made = Team(tmp_path, remote, database)
    yield made
    made.stop()


def test_a_queue_over_two_machines_with_the_flags_of_work(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "c", "d"]
    office = team.place("office", [], names)
    team.worker(*map(writes, names))
    team.worker(*map(writes, names))
    process = team.work(
        office, "--once", "--max-issues", "3", "--parallel", "3", "--budget-usd", "5", "--land", "merge"
    )
    out, err = process.communicate(timeout=200)
    said = json.loads(out)
    assert (process.returncode, said["taken"], said["done"]) == (0, 3, 3), err
    assert PASSWORD not in out + err
    for issue in names[:3]:
        assert git(office, "show", f"main:{issue}.txt") == issue
        assert told(office, issue)["status"] == "closed"
        assert git(office, "rev-list", "--count", "--grep", f"Harness-Step: {issue}-r1/", "main") == "1"
    lines = [json.loads(line) for line in err.splitlines()]
    assert all({"at", "level", "event", "run", "issue", "phase", "task"} <= set(line) for line in lines)
    ended = {line["issue"]: line["run"] for line in lines if line["event"] == "task.finished"}
    assert ended == {issue: f"{issue}-r1" for issue in names[:3]}
    assert team.steps("") == 0  # all of it is with the scheduler
    monkeypatch.setenv("HARNESS_DATABASE_URL", team.database)
    assert team.held("a-r1") > 0 and "a-r1" in git(team.remote, "for-each-ref", "refs/harness")
    assert main(["forget", "a-r1", "--repo", str(office)]) == 0
    assert team.held("a-r1") == 0 and team.held("b-r1") > 0
    assert "a-r1" not in git(team.remote, "for-each-ref", "refs/harness")


def test_one_trace_leads_over_the_machines(team: Team) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'beads-harness[otel]'")
    with collecting() as collector:
        team.variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        office = team.place("office", [], ["a"])
        worker = team.worker(writes("a"))
        process = team.work(office, "--once")
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)
    (call, _) = sorted(collector.named("chat"), key=lambda span: span.attributes["harness.turn"])
    assert collector.lineage(call) == [
        "invoke_workflow single", "phase execute", "worker", "task", "invoke_agent tool_loop", "chat claude-haiku-5-5",
    ]  # fmt: skip
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["trace_id"] for line in lines if line["run"]} == {call.trace}


def test_a_machine_killed_mid_task_is_replaced_and_its_paid_turns_are_not_paid_again(team: Team) -> None:
    office = team.place("office", [], ["a"])
    doomed = team.worker(writes("a", seconds=60))
    process = team.work(office, "--once", "--land", "merge")
    team.until_recorded("turn-1/tools")
    doomed.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    team.worker(writes("a", first=REFUSED))  # asked for the first turn again, it would fail
    out, err = process.communicate(timeout=100)
    assert (process.returncode, json.loads(out)["done"]) == (0, 1), err
    assert time.monotonic() - killed < 60
    assert git(office, "show", "main:a.txt") == "a"
    assert git(office, "rev-list", "--count", "--grep", "Harness-Step: a-r1/", "main") == "1"


def test_a_finished_task_whose_machine_was_killed_before_it_could_report_is_not_paid_again(team: Team) -> None:
    office = team.place("office", [], ["a"])
    hook = team.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\ngrep -q refs/harness/.*/task/ && sleep 20 && exit 1\nexit 0\n")
    hook.chmod(0o755)
    doomed = team.worker(writes("a"))
    process = team.work(office, "--once", "--land", "merge")
    team.until_recorded("/result")
    doomed.kill()
    hook.unlink()
    team.worker()  # it has no reply to anything
    out, err = process.communicate(timeout=100)
    assert (process.returncode, json.loads(out)["done"]) == (0, 1), err
    assert git(office, "show", "main:a.txt") == "a"
    assert git(office, "rev-list", "--count", "--grep", "Harness-Step: a-r1/", "main") == "1"


def test_a_password_on_the_command_line_is_warned_of_and_never_told(
    team: Team, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = team.place("office", [])
    url = "postgresql://harness:hunter2hunter2@127.0.0.1:1/x"
    assert main(["work", "--once", "--backend", "dbos", "--database", url, "--repo", str(place)]) == 2
    said = capsys.readouterr().err
    assert "HARNESS_DATABASE_URL" in said and "cannot reach the database" in said and "hunter2" not in said
    monkeypatch.setenv("HARNESS_DATABASE_URL", "postgresql://harness@127.0.0.1:1/x")
    assert main(["work", "--once", "--backend", "dbos", "--repo", str(place)]) == 2
    said = capsys.readouterr().err
    assert "cannot reach the database" in said and "warning" not in said
    monkeypatch.setenv("HARNESS_DATABASE_URL", "mysql=")
    assert main(["work", "--once", "--backend", "dbos", "--repo", str(place)]) == 2
    assert "is no PostgreSQL URL" in capsys.readouterr().err
    for unnamed in ("postgresql://?service=x", "service=x", "postgresql://harness@127.0.0.1:1"):
        monkeypatch.setenv("HARNESS_DATABASE_URL", unnamed)
        assert main(["work", "--once", "--backend", "dbos", "--repo", str(place)]) == 2
        assert "names a database" in capsys.readouterr().err
