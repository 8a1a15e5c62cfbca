"""A repository with an issue queue and a scripted model: one small file to write for each issue."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from harness.config.settings import Settings

IDENTITY = ("-c", "user.name=n", "-c", "user.email=n@example.org")


def git(repo: Path, *argv: str) -> str:
    return subprocess.check_output(["git", "-C", str(repo), *IDENTITY, *argv], text=True)


def row(issue_id: str, **more: Any) -> dict[str, Any]:
    """An issue that the default routing gives to the cheapest tier, without planning or review."""
    return {"id": issue_id, "title": f"Fix typo in {issue_id}.txt", "status": "open", "priority": 2,
            "issue_type": "task", "created_at": "2026-01-01T00:00:00Z", **more}  # fmt: skip


def writes(issue_id: str = "*", **more: Any) -> dict[str, Any]:
    """The script's entry that does an issue's work: a line appended to a file that tells how often it was done."""
    name = "done.txt" if "*" in issue_id else f"{issue_id}.txt"
    return {
        "when": {"phase": "execute", "issue": issue_id},
        "turns": [
            {"tools": [{"name": "bash", "input": {"command": f"echo done >> {name}"}}]},
            {"tools": [{"name": "finish", "input": {"summary": "Done."}}]},
        ],
        **more,
    }


def fails(issue_id: str = "*") -> dict[str, Any]:
    """The script's entry for a worker that gives up without having changed anything."""
    turn = {"tools": [{"name": "finish", "input": {"summary": "I could not."}}]}
    return {"when": {"phase": "execute", "issue": issue_id}, "turns": [turn]}


def refuses(kind: str, issue_id: str = "*", **more: Any) -> dict[str, Any]:
    """The script's entry for a server that answers with an error."""
    return {"when": {"phase": "execute", "issue": issue_id}, "error": {"kind": kind}, **more}


def place(folder: Path, rows: list[dict[str, Any]], replies: list[dict[str, Any]], **settings: Any) -> Settings:
    """A real repository on `main` with `harness.yaml`, a JSON Lines queue and a script; returns its settings."""
    folder.mkdir(parents=True)
    script = folder.parent / f"{folder.name}-script.yaml"
    script.write_text(yaml.safe_dump({"replies": replies}))
    data = {"tracker": {"kind": "jsonl"}, "models": {"script": str(script)}, "attempts_per_tier": 1, **settings}
    (folder / "harness.yaml").write_text(yaml.safe_dump(data))
    (folder / ".beads").mkdir()
    issues(folder).write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "README.md").write_text("A project.\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "README.md", "harness.yaml")
    git(folder, "commit", "-qm", "Begin")
    return Settings.model_validate({**data, "root": folder})


def issues(folder: Path) -> Path:
    return folder / ".beads" / "issues.jsonl"


def told(folder: Path, issue_id: str) -> dict[str, Any]:
    """The issue as its file tells it."""
    rows = [json.loads(line) for line in issues(folder).read_text().splitlines()]
    found: dict[str, Any] = next(one for one in rows if one["id"] == issue_id)
    return found
