"""The cron script, run for real with a scripted model; and what the workflow promises of permissions and secrets."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import proc
from harness.shipped import shipped

CI = shipped("examples") / "ci"
KEY = "sk-ant-test-0123456789abcdef"
ISSUE = {"id": "ci-1", "title": "Fix typo in README", "status": "open", "priority": 1, "issue_type": "task"}


def git(repo: Path, *argv: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.check_output(["git", "-C", str(repo), *identity, *argv], text=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository whose one issue is fixed by a script that also looks for the key."""
    folder = tmp_path / "repo"
    (folder / ".beads").mkdir(parents=True)
    (folder / ".beads" / "issues.jsonl").write_text(json.dumps(ISSUE) + "\n")
    (folder / "README.md").write_text("Teh project.\n")
    (folder / "harness.yaml").write_text(
        f"models: {{script: {tmp_path / 'script.yaml'}}}\nverify: ['! grep -q Teh README.md']\n"
    )
    command = "sed -i s/Teh/The/ README.md; env | grep -c -e ANTHROPIC -e HARNESS -e sk-ant >> README.md"
    turns = [
        {"tools": [{"name": "bash", "input": {"command": command}}]},
        {"tools": [{"name": "finish", "input": {"summary": "Fixed."}}]},
    ]
    script = {"replies": [{"when": {"phase": "execute"}, "turns": turns}]}
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(script))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Begin")
    return folder


async def work(repo: Path, output: Path, **variables: str) -> proc.Completed:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": os.environ["HOME"], **variables}
    return await proc.run([str(CI / "work.sh"), str(repo), str(output)], env=environment, timeout=60)


@pytest.mark.timeout(180)
async def test_one_pass_leaves_all_that_the_next_job_needs(repo: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    output = tmp_path / "out"
    said = await work(repo, output, HARNESS_KEY_FILE=str(key))
    assert (said.exit_code, said.output) == (0, "")
    assert json.loads((output / "work.json").read_text())
    assert "<html" in (output / "report.html").read_text()
    for file in output.iterdir():
        assert KEY.encode() not in file.read_bytes()

    other = tmp_path / "published"
    git(tmp_path, "clone", "-q", str(repo), str(other))
    git(other, "fetch", "-q", str(output / "branches.bundle"), "refs/heads/harness/*:refs/heads/harness/*")
    assert git(other, "show", "harness/ci-1:README.md") == "The project.\n0\n", "the agent saw no key"
    git(other, "apply", "--3way", "--index", str(output / "issues.patch"))
    kept = json.loads((other / ".beads" / "issues.jsonl").read_text())
    assert kept["comments"] and kept["status"] != "open", "a fresh clone would not do it again"

    again = await work(repo, output, HARNESS_KEY_FILE=str(key))
    assert again.exit_code == 0, "nothing is ready: nothing to do"


@pytest.mark.timeout(180)
async def test_what_was_not_accepted_is_told(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("replies: []\n")
    said = await work(repo, tmp_path / "out", ANTHROPIC_API_KEY=KEY)
    assert said.exit_code in (1, 2)
    assert said.stderr.startswith(f"harness work ended with {said.exit_code}") and KEY not in said.output


async def test_a_second_start_steps_aside(repo: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with (output / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = await work(repo, output)
    assert (said.exit_code, said.output) == (0, "")
    assert not (output / "work.json").exists()


def test_no_job_of_the_workflow_has_both_a_key_and_a_pen() -> None:
    workflow: dict[Any, Any] = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert workflow["permissions"] == {}
    jobs = workflow["jobs"]
    assert jobs["work"]["permissions"] == {"contents": "read"}
    assert "secrets." in json.dumps(jobs["work"]) and "secrets." not in json.dumps(jobs["publish"])
    assert "harness work" not in json.dumps(jobs["publish"]) and "work.sh" not in json.dumps(jobs["publish"])
    checkout = jobs["work"]["steps"][0]
    assert checkout["with"]["persist-credentials"] is False
    with_key = [step for step in jobs["work"]["steps"] if "ANTHROPIC_API_KEY" in json.dumps(step)]
    assert [step["name"] for step in with_key] == ["Work off what is ready"]
    assert all("timeout-minutes" in job for job in jobs.values())
