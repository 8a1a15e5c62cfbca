"""The Claude Code plugin as a user gets it: validated, installed from its marketplace, its commands used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.proc import Completed, run
from harness.shipped import shipped
from tests.wire.server import WireServer

pytestmark = [pytest.mark.needs_claude, pytest.mark.timeout(240)]

PLUGIN = shipped("plugins") / "claude-code"
ISSUE = '{"id":"demo-1","title":"Fix typo in README","status":"open","priority":2,"issue_type":"task"}\n'


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / ".beads").mkdir(parents=True)
    (folder / ".beads" / "issues.jsonl").write_text(ISSUE)
    subprocess.check_call(["git", "init", "-q", str(folder)])
    return folder


async def claude(repo: Path, *argv: str, **variables: str) -> Completed:
    home = repo.parent / "claude-home"
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1", "TERM": "dumb"}
    environment = {"PATH": path, "HOME": str(home), **quiet, **variables}
    return await run(["claude", *argv], cwd=repo, env=environment, timeout=100)


@pytest.mark.parametrize("manifest", [PLUGIN, PLUGIN.parents[1] / ".claude-plugin" / "marketplace.json"])
async def test_the_plugin_is_valid(repo: Path, manifest: Path) -> None:
    if not manifest.exists():
        pytest.skip("the repository's own marketplace is not part of an installation")
    said = await claude(repo, "plugin", "validate", "--strict", str(manifest))
    assert said.ok, said.output
    assert "Validation passed" in said.stdout


async def test_a_command_of_the_installed_plugin_runs_the_harness(repo: Path) -> None:
    for argv in (("marketplace", "add", str(PLUGIN)), ("install", "harness@beads-harness")):
        said = await claude(repo, "plugin", *argv)
        assert said.ok, said.output
    with WireServer(lambda request: {"text": "It goes to the cheapest tier."}) as wire:
        argv = ("-p", "/harness:route demo-1", "--output-format", "json")
        said = await claude(repo, *argv, ANTHROPIC_BASE_URL=wire.url, ANTHROPIC_API_KEY="sk-client")
        assert said.ok, said.output
        assert "It goes to the cheapest tier." in said.stdout, said.stdout
        prompts = "\n".join(call.facts.prompt for call in wire.calls)
    routed = await run([str(Path(sys.executable).parent / "harness"), "route", "--explain", "demo-1"], cwd=repo)
    assert routed.ok, routed.output
    lines = [line.strip() for line in routed.stdout.splitlines() if line.strip()]
    assert lines and all(line in prompts for line in lines)
    said = await claude(repo, "plugin", "uninstall", "harness@beads-harness")
    assert said.ok, said.output


SCRIPT = """replies:
  - when: {phase: execute}
    turns:
      - tools: [{name: write, input: {path: done.txt, content: "done"}}]
      - tools: [{name: finish, input: {summary: "It is there."}}]
"""


async def test_the_run_command_takes_an_issue_to_a_branch(repo: Path) -> None:
    names = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    subprocess.check_call(["git", "add", "."], cwd=repo)
    subprocess.check_call(["git", *names, "commit", "-qm", "start"], cwd=repo)
    script = repo.parent / "script.yaml"
    script.write_text(SCRIPT)
    command = f"harness run demo-1 --json --script {script} --pipeline single --worker haiku"

    def answer(request: Any) -> dict[str, Any]:
        if "Bash" in request.facts.offers and request.facts.turn == 1:
            return {"tools": [{"name": "Bash", "input": {"command": command, "description": "run the issue"}}]}
        return {"text": "It is on its branch."}

    for argv in (("marketplace", "add", str(PLUGIN)), ("install", "harness@beads-harness")):
        said = await claude(repo, "plugin", *argv)
        assert said.ok, said.output
    with WireServer(answer) as wire:
        argv = ("-p", "/harness:run demo-1", "--output-format", "json")
        said = await claude(repo, *argv, ANTHROPIC_BASE_URL=wire.url, ANTHROPIC_API_KEY="sk-client")
    assert said.ok and "It is on its branch." in said.stdout, said.output
    shown = await run(["git", "show", "harness/demo-1:done.txt"], cwd=repo)
    assert shown.stdout == "done", said.output
