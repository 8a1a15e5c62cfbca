"""The demonstration, run once as a user runs it, and read from its journal, its tracker and its repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness.cli import main
from harness.cli.demo import program
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.types import Run

pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True)
class Demo:
    root: Path
    runs: dict[str, Run]
    """By issue."""
    told: dict[str, Any]
    progress: str

    def issues(self) -> dict[str, dict[str, Any]]:
        rows = map(json.loads, (self.root / ".beads" / "issues.jsonl").read_text().splitlines())
        return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    root, home = tmp_path_factory.mktemp("demo") / "ledger", tmp_path_factory.mktemp("home")
    secret = ("ANTHROPIC", "OPENAI", "GIT_", "HARNESS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    command = [sys.executable, "-m", "harness", "demo", "--dir", str(root), "--json"]
    done = subprocess.Popen(
        command, env={**environment, "HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = done.communicate(timeout=110)
    assert done.returncode == 0, err
    yield Demo(root, _runs(root), json.loads(out), err)


def _runs(root: Path) -> dict[str, Run]:
    async def read() -> list[Run]:
        journal = SqliteJournal(root / ".harness" / "journal.db")
        try:
            return await journal.runs()
        finally:
            await journal.aclose()

    return {run.issue.id: run for run in anyio.run(read)}


def test_the_whole_queue_is_done_and_the_repository_passes(demo: Demo) -> None:
    assert sorted(demo.runs) == [f"ld-{number}" for number in range(1, 8)]
    assert {run.status for run in demo.runs.values()} == {"done"}
    issues = demo.issues()
    assert {issues[name]["status"] for name in demo.runs} == {"closed"}
    before, after = demo.told["tests"]["before"], demo.told["tests"]["after"]
    assert not before["ok"] and len(before["failing"]) == 10 and after["ok"]
    tests = subprocess.Popen([sys.executable, "-m", "unittest", "-q"], cwd=demo.root, stderr=subprocess.PIPE, text=True)
    assert tests.communicate()[1].strip().endswith("OK")


def test_routes(demo: Demo) -> None:
    told = {name: (run.route.strategy, run.route.tier, run.pipeline.name) for name, run in demo.runs.items()}
    assert told["ld-1"] == ("label", "haiku", "single")
    assert told["ld-2"] == ("pattern", "haiku", "single")
    assert told["ld-5"] == ("files", "sonnet", "plan-execute-review")


def test_a_plan_with_dependencies(demo: Demo) -> None:
    plan = demo.runs["ld-5"].plan
    assert plan is not None
    assert {task.id: task.depends_on for task in plan.tasks} == {
        "over": (),
        "limits": (),
        "table": ("over",),
        "readme": ("limits", "table"),
    }
    assert {call.tier for call in demo.runs["ld-5"].other_calls} == {"sonnet"}


def test_a_failure_escalates_with_the_tests_as_feedback(demo: Demo) -> None:
    (result,) = demo.runs["ld-3"].results
    assert [(tried.tier, tried.outcome) for tried in result.attempts] == [
        ("haiku", "failed"),
        ("haiku", "failed"),
        ("sonnet", "passed"),
    ]
    assert "test_shares_are_whole_cents" in result.attempts[0].feedback
    others = [result for name, run in demo.runs.items() if name != "ld-3" for result in run.results]
    assert not any(result.escalated for result in others)


def test_a_conflict_is_redone(demo: Demo) -> None:
    run = demo.runs["ld-6"]
    assert run.integration is not None and run.integration.conflicts == ("quarter",) and not run.integration.broken
    assert {result.task_id: result.round for result in run.results} == {"week": 0, "quarter": 1}


def test_a_clean_merge_that_breaks_tests_is_redone(demo: Demo) -> None:
    run = demo.runs["ld-7"]
    assert run.integration is not None and run.integration.broken == ("statement",) and not run.integration.conflicts
    assert all(attempt.outcome == "passed" for result in run.superseded for attempt in result.attempts)
    assert {result.task_id: result.round for result in run.results} == {"rename": 0, "statement": 1}


def test_a_review_sends_work_back_once_and_files_what_is_out_of_scope(demo: Demo) -> None:
    run = demo.runs["ld-4"]
    assert [review.verdict for review in run.reviews] == ["revise", "approve"]
    assert {call.tier for review in run.reviews for call in review.calls} == {"opus"}
    (filed,) = run.filed
    issue = demo.issues()[filed]
    assert issue["status"] == "open" and not issue.get("assignee") and filed not in demo.runs
    assert not [name for name, other in demo.runs.items() if name != "ld-4" and other.reviews]


def test_outcomes_and_reports_are_there(demo: Demo) -> None:
    assert all(Path(path).stat().st_size > 1000 for path in demo.told["reports"]) and len(demo.told["reports"]) == 7
    with Outcomes(demo.root / ".harness", create=False) as store:
        assert len(list(store.latest())) >= 14


def test_it_says_that_nothing_real_was_called(demo: Demo) -> None:
    assert demo.told["scripted"] and "no API was called" in demo.told["note"]
    assert "\nld-3-r1  done, $" in demo.progress and ": attempt 3 by sonnet: passed" in demo.progress


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "--dir", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_to_type_next_can_be_typed_by_who_has_harness_on_no_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subprocess.check_output([program(), "--version"], cwd=tmp_path)
