"""`harness run` and `harness resume`, stopped and gone on with as a user does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from tests.cli.working import until
from tests.fakes.places import git

SCRIPT = """
replies:
  - when: {{phase: execute}}
    turns:
      - tools:
          - {{name: bash, input: {{command: "{command}"}}}}
          - {{name: write, input: {{path: done.txt, content: "done"}}}}
      - tools: [{{name: finish, input: {{summary: Done.}}}}]
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository of two issues and a quick script."""
    folder = tmp_path / "repo"
    (folder / ".beads").mkdir(parents=True)
    issues = [
        {"id": "r-1", "title": "Fix typo in README", "status": "open", "labels": ["model:gpt9"]},
        {"id": "r-2", "title": "Rename a file", "status": "open"},
    ]
    (folder / ".beads" / "issues.jsonl").write_text("".join(json.dumps(issue) + "\n" for issue in issues))
    (folder / "README.md").write_text("hello\n")
    (tmp_path / "quick.yaml").write_text(SCRIPT.format(command="true"))
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*name, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *command], cwd=folder, check=True)  # noqa: TID251 - the user's git
    return folder


def _run(repo: Path, *arguments: str) -> list[str]:
    return [*arguments, "--repo", str(repo), "--script", str(repo.parent / "quick.yaml"), "--no-sandbox", "--json"]


def _stopped_at_once(repo: Path, issue: str) -> tuple[int, str, str]:
    """Exit code and output of a run that got two signals in the middle of its work."""
    working = repo.parent / f"working-{issue}"
    slow = repo.parent / f"slow-{issue}.yaml"
    # Only the first time does it take longer than any test: what was answered is not asked again, but done again.
    slow.write_text(SCRIPT.format(command=f"mkdir {working} && sleep 60 || true"))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", issue, "-C", str(repo), "--script", str(slow), "--no-sandbox",
         "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        until(working.exists)
        process.send_signal(signal.SIGINT)
        heard = next(line for line in process.stderr if "once more to stop now" in line)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, out, heard + rest


def test_a_second_signal_says_how_to_go_on(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _stopped_at_once(repo, "r-1")
    assert code == 130
    assert "harness resume" in json.loads(out)["error"]["hint"]
    assert "stopped at once" in err
    assert main(_run(repo, "resume", "r-1-r1")) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"


def test_resume_all_prints_one_document(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_run(repo, "resume", "--all")) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}
    for issue in ("r-1", "r-2"):
        assert _stopped_at_once(repo, issue)[0] == 130
    assert main(_run(repo, "resume", "--all")) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert sorted((run["run"], run["status"]) for run in runs) == [("r-1-r1", "done"), ("r-2-r1", "done")]


def test_warnings_of_routing_are_told_by_run_too(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _run(repo, "run", "r-1")[:-1]
    assert main([*arguments, "--dry-run"]) == 0
    assert "warning: label 'model:gpt9' names no tier" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "warning: label 'model:gpt9' names no tier" in capsys.readouterr().out


def test_a_run_lands_as_it_was_asked_to_however_it_goes_on(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "README.md").write_text("edited meanwhile\n")
    assert main(_run(repo, "run", "r-1", "--land", "merge")) == 2
    hint = json.loads(capsys.readouterr().out)["error"]["hint"]
    assert "harness resume r-1-r1" in hint
    git(repo, "checkout", "--", "README.md")
    assert main(_run(repo, "resume", "r-1-r1")) == 0
    assert json.loads(capsys.readouterr().out)["landing"]["mode"] == "merge"
    assert git(repo, "show", "HEAD:done.txt") == "done"


def test_a_word_on_landing_wins_over_how_the_run_was_begun(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "README.md").write_text("edited meanwhile\n")
    assert main(_run(repo, "run", "r-1", "--land", "merge")) == 2
    capsys.readouterr()
    assert main(_run(repo, "resume", "r-1-r1", "--land", "branch")) == 0
    assert json.loads(capsys.readouterr().out)["landing"]["mode"] == "branch"


@pytest.mark.parametrize("command", [["run", "r-1"], ["work", "--once"]])
def test_merging_into_no_branch_is_refused_before_anything_is_claimed(
    repo: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    queue = (repo / ".beads" / "issues.jsonl").read_bytes()
    git(repo, "checkout", "-q", "--detach")
    assert main(_run(repo, *command, "--land", "merge")) == 2
    assert "detached" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert (repo / ".beads" / "issues.jsonl").read_bytes() == queue


PIPELINE = """
phases:
  1_planning: {model: opus, output: task_breakdown.md}
  2_execution: {model: haiku, tasks: [{name: Write it, file: done.txt}]}
"""


def test_tasks_of_a_pipelines_own_are_written_down_as_a_plan_would_be(repo: Path) -> None:
    (repo.parent / "own.yaml").write_text(PIPELINE)
    assert main(_run(repo, "run", "r-1", "--pipeline", str(repo.parent / "own.yaml"))) == 0
    assert "Write it" in (repo / ".harness" / "runs" / "r-1-r1" / "task_breakdown.md").read_text()
