"""An issue of each tracker, claimed, worked on, merged into the user's own checkout, and closed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from harness import registry
from harness.config.settings import load_settings
from harness.engine import run_issue
from harness.protocols import Tracker
from tests.contracts.tracker import make

TURNS = [
    {"tools": [{"name": "bash", "input": {"command": "sed -i s/Teh/The/ README.md"}}]},
    {"tools": [{"name": "finish", "input": {"summary": "Fixed."}}]},
]


def git(repo: Path, *argv: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.check_output(["git", "-C", str(repo), *identity, *argv], text=True)


@pytest.mark.timeout(180)
async def test_what_bd_writes_meanwhile_is_not_in_the_way(
    open_tracker: Callable[[], Tracker], repo: Path, tmp_path: Path
) -> None:
    """bd 0.x exports its issues into the checkout and 1.x its log; the file tracker's issues are in it themselves."""
    (tmp_path / "script.yaml").write_text(yaml.safe_dump({"replies": [{"when": {"phase": "execute"}, "turns": TURNS}]}))
    settings_file = {"models": {"script": str(tmp_path / "script.yaml")}, "land": "merge"}
    (repo / "harness.yaml").write_text(yaml.safe_dump(settings_file))
    (repo / "README.md").write_text("Teh project.\n")
    issue_id = await make(open_tracker(), "Fix typo in README")
    if not (repo / ".git").exists():
        git(repo, "init", "-q")
    git(repo, "checkout", "-q", "-B", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "--no-verify", "-m", "Begin")
    settings = load_settings(repo)
    async with registry.build(settings) as deps:
        assert await deps.tracker.claim(issue_id, deps.actor)
        issue = await deps.tracker.get(issue_id)
        run = await run_issue(issue, deps, partial(registry.pipeline, settings=settings))
    assert (run.status, run.error) == ("done", None)
    assert (repo / "README.md").read_text() == "The project.\n"
    assert (await open_tracker().get(issue_id)).status == "closed"
    changed = git(repo, "status", "--short").split()
    assert all(name.startswith(".beads/") for name in changed[1::2])
