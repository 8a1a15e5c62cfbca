"""`harness doctor`: what works is tried, what is missing comes with its cure, and the exit code tells scripts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository in which nothing is in the way."""
    (tmp_path / ".beads").mkdir()
    (tmp_path / ".beads" / "issues.jsonl").write_text('{"id":"a-1","title":"One"}\n')
    (tmp_path / "script.yaml").write_text("replies: []\n")
    (tmp_path / "harness.yaml").write_text("models: {script: script.yaml}\nsandbox: {mode: none}\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Begin"]):
        subprocess.check_call([*git, *argv])
    return tmp_path


def examined(repo: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]], list[str]]:
    code = main(["doctor", "-C", str(repo), "--json"])
    document = json.loads(capsys.readouterr().out)
    return code, {finding["name"]: finding for finding in document["findings"]}, document["in_the_way"]


@pytest.fixture
def bare_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with git and nothing else; tests add to it."""
    tools = tmp_path_factory.mktemp("tools")
    (tools / "git").symlink_to("/usr/bin/git")
    monkeypatch.setenv("PATH", str(tools))
    return tools


def test_nothing_in_the_way(repo: Path, bare_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, in_the_way = examined(repo, capsys)
    assert (code, in_the_way) == (0, [])
    assert found["tracker"]["detail"] == "jsonl: 1 issue ready"
    assert found["models"]["state"] == found["git"]["state"] == "works"
    assert found["codex"]["state"] == "missing" and found["codex"]["cure"] == "npm install -g @openai/codex"
    assert found["hooks"]["cure"] == "harness init --hooks"
    assert main(["init", "--hooks", "-C", str(repo)]) == 0
    capsys.readouterr()
    assert examined(repo, capsys)[1]["hooks"]["state"] == "works"


def test_a_key_is_named_and_never_shown(
    repo: Path, bare_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "harness.yaml").write_text("sandbox: {mode: none}\ntiers: {haiku: [groq/x], sonnet: [ollama/y]}\n"
                                       "planner: haiku\nreviewer: sonnet\n")  # fmt: skip
    code, found, in_the_way = examined(repo, capsys)
    assert (code, in_the_way) == (2, ["groq"])
    assert found["groq"]["cure"] == "export GROQ_API_KEY=…, or set providers > groq > api_key in harness.yaml"
    assert found["ollama"]["detail"] == "needs no key; serves sonnet"
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    assert main(["doctor", "-C", str(repo)]) == 0
    out = capsys.readouterr().out
    assert "has a key; serves haiku" in out and "very-secret" not in out and "Nothing is in the way." in out


def test_a_broken_file_of_issues_is_in_the_way(repo: Path, bare_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / ".beads" / "issues.jsonl").write_text("{\n")
    code, found, in_the_way = examined(repo, capsys)
    assert (code, in_the_way) == (2, ["tracker"])
    assert "issues.jsonl:1" in found["tracker"]["detail"]


def test_programs_that_do_not_work_are_told_apart(
    repo: Path, bare_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, script in (("codex", "echo codex-cli 1.2"), ("opencode", "exit 3"), ("git", "echo git version 2.30.1")):
        (bare_path / name).unlink(missing_ok=True)
        (bare_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (bare_path / name).chmod(0o755)
    _, found, in_the_way = examined(repo, capsys)
    assert found["codex"]["state"] == "works"
    assert found["opencode"]["state"] == "broken"
    assert "too old" in found["git"]["detail"]
    assert in_the_way == ["git", "opencode"]


def test_the_chosen_executor_is_needed(repo: Path, bare_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (repo / "harness.yaml").open("a") as file:
        file.write("executor: claude_code\n")
    assert examined(repo, capsys)[2] == ["claude"]


def test_a_bare_repository_is_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.check_call(["git", "init", "-q", "--bare", str(tmp_path)])
    _, findings, in_the_way = examined(tmp_path, capsys)
    assert "git" in in_the_way and "is bare" in findings["git"]["detail"]


def test_folders_that_cannot_be_written_are_in_the_way(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"state folder", "cache folder"} & set(examined(repo, capsys)[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(repo / "script.yaml"))
    _, findings, in_the_way = examined(repo, capsys)
    assert "cache folder" in in_the_way and "script.yaml cannot be written to" in findings["cache folder"]["detail"]
