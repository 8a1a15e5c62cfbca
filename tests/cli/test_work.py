"""`harness work` as a user starts it: a process, real git, a scripted model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import proc, spool
from harness.cli import main
from tests.fakes.places import fails, git, issues, place, refuses, row, told, writes


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "harness", "work", *argv]


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_one_pass_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), fails("b")]).root
    assert main(["work", "--once", "--json", "--repo", str(repo)]) == 1
    said = document(capsys.readouterr().out)
    assert {name: said[name] for name in ("taken", "done", "failed", "rejected", "released", "stopped")} == {
        "taken": 2, "done": 1, "failed": 1, "rejected": 0, "released": 0, "stopped": None,
    }  # fmt: skip
    assert {(run["run"], run["status"]) for run in said["runs"]} == {("a-r1", "done"), ("b-r1", "failed")}
    assert float(said["usd"]) > 0


def test_nothing_ready_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = place(tmp_path / "repo", [], []).root
    assert main(["work", "--repo", str(repo)]) == 0
    assert capsys.readouterr().out == "0 taken, 0 done, 0 failed, 0 rejected, 0 released; $0.0000\n"


def test_a_refused_key_is_the_users_to_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = place(tmp_path / "repo", [row("a")], [refuses("auth")]).root
    assert main(["work", "--once", "--json", "--repo", str(repo)]) == 2
    assert "refused the key" in document(capsys.readouterr().out)["stopped"]


def test_a_dry_run_takes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = place(tmp_path / "repo", [row("a", priority=3), row("b", priority=0)], []).root
    assert main(["work", "--dry-run", "--json", "--repo", str(repo)]) == 0
    would = document(capsys.readouterr().out)["would_take"]
    assert [(one["issue"], one["tier"]) for one in would] == [("b", "haiku"), ("a", "haiku")]
    assert float(would[0]["estimated_cost"]) > 0
    assert told(repo, "a")["status"] == told(repo, "b")["status"] == "open"
    assert main(["work", "--dry-run", "--max-issues", "1", "--repo", str(repo)]) == 0
    assert re.fullmatch(r"P0  b  haiku  single  about \$0\.\d{4}  Fix typo in b\.txt\n", capsys.readouterr().out)


def test_several_repositories_are_worked_off_one_after_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = place(tmp_path / "other", [row("x", labels=["go"]), row("y")], [writes("x"), writes("y")]).root
    places = [{"path": "../other", "wanted_labels": ["go"]}]
    repo = place(tmp_path / "repo", [row("a")], [writes("a")], repositories=places).root
    assert main(["work", "--once", "--json", "--repo", str(repo)]) == 0
    assert [run["issue"] for run in document(capsys.readouterr().out)["runs"]] == ["a", "x"]
    assert git(other, "show", "harness/x:x.txt") == "done\n" and told(other, "y")["status"] == "open"


def test_every_log_line_names_run_issue_and_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = place(tmp_path / "repo", [row("a")], [writes("a")]).root
    assert main(["work", "--once", "--log-json", "--repo", str(repo)]) == 0
    lines = [document(line) for line in capsys.readouterr().err.splitlines()]
    assert lines and all({"at", "run", "issue", "task", "event"} <= set(line) for line in lines)
    ended = next(line for line in lines if line["event"] == "task.finished")
    assert (ended["run"], ended["issue"], ended["task"]) == ("a-r1", "a", "work")


@pytest.mark.timeout(180)
async def test_the_first_signal_finishes_the_step_and_the_next_start_goes_on(tmp_path: Path) -> None:
    slow = writes("a")
    slow["turns"][1]["seconds"] = 3
    repo = place(tmp_path / "repo", [row("a")], [slow]).root
    worker = subprocess.Popen(
        command("--once", "--json", "--log-json", "--repo", str(repo)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stderr is not None
    for line in worker.stderr:
        if '"task.turn"' in line:
            break
    worker.send_signal(signal.SIGINT)
    out, _ = worker.communicate(timeout=20)
    assert worker.returncode == 130
    assert document(out)["stopped"] == "stopped by a signal" and document(out)["released"] == 1
    assert told(repo, "a")["status"] == "open"
    again = await proc.run(command("--once", "--json", "--repo", str(repo)), timeout=20)
    assert again.exit_code == 0 and document(again.stdout)["runs"][0]["run"] == "a-r1"
    assert git(repo, "show", "harness/a:a.txt") == "done\n"


@pytest.mark.timeout(180)
def test_the_second_signal_stops_now(tmp_path: Path) -> None:
    slow = writes("a")
    slow["turns"][1]["seconds"] = 50
    repo = place(tmp_path / "repo", [row("a")], [slow]).root
    worker = subprocess.Popen(
        command("--once", "--json", "--log-json", "--repo", str(repo)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stderr is not None
    for line in worker.stderr:
        if '"task.turn"' in line:
            worker.send_signal(signal.SIGINT)
        if "once more to stop now" in line:
            break
    worker.send_signal(signal.SIGINT)
    out, _ = worker.communicate(timeout=15)
    assert worker.returncode == 130 and document(out)["released"] == 1
    assert told(repo, "a")["status"] == "open"


@pytest.mark.timeout(180)
async def test_a_killed_queue_strands_nothing(tmp_path: Path) -> None:
    slow = writes("a")
    slow["turns"][1]["seconds"] = 1
    repo = place(tmp_path / "repo", [row("a")], [slow]).root
    worker = subprocess.Popen(command("--once", "--log-json", "--repo", str(repo)), stderr=subprocess.PIPE, text=True)
    assert worker.stderr is not None
    for line in worker.stderr:
        if '"task.turn"' in line:
            break
    worker.kill()
    worker.communicate(timeout=10)
    assert told(repo, "a")["status"] == "in_progress"
    again = await proc.run(command("--once", "--json", "--repo", str(repo)), timeout=20)
    assert again.exit_code == 0 and document(again.stdout)["runs"][0]["run"] == "a-r1", again.stderr
    assert "its worker is gone" in again.stderr
    assert git(repo, "show", "harness/a:a.txt") == "done\n"


@pytest.mark.timeout(180)
def test_a_watcher_is_woken_by_a_hook_and_tells_prometheus(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="pip install 'beads-harness[metrics]'")
    settings = place(tmp_path / "repo", [row("a")], [writes()], queue={"poll_seconds": 600})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    watcher = subprocess.Popen(
        command("--watch", "--json", "--metrics-port", str(port), "--repo", str(settings.root)),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        until(lambda: told(settings.root, "a").get("comments") is not None)
        with issues(settings.root).open("a") as file:
            file.write(json.dumps(row("b")) + "\n")
        spool.put(spool.folder(settings.state), "b")
        until(lambda: told(settings.root, "b").get("comments") is not None)

        def counted() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                text = page.read().decode()
            return 'harness_runs_total{status="done"} 2.0' in text and "harness_runs_active 0.0" in text

        until(counted)
    finally:
        watcher.send_signal(signal.SIGTERM)
    out, _ = watcher.communicate(timeout=10)
    assert watcher.returncode == 130 and document(out)["done"] == 2


def test_bad_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--parallel", "0"], ["--max-issues", "-1"], ["--once", "--watch"]):
        with pytest.raises(SystemExit) as stopped:
            main(["work", *argv, "--repo", str(tmp_path)])
        assert stopped.value.code == 2
    assert "'0' is less than 1" in capsys.readouterr().err
