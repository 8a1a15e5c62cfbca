"""One script, one issue, a whole run: it ends the same with the scripted client and over each wire format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import proc, registry
from harness.config.settings import Settings
from harness.engine import Wishes, run_issue
from harness.models.script import read_script
from harness.types import Issue, Run, TaskResult
from tests.wire import WireServer

SCRIPT: dict[str, Any] = {
    "replies": [
        {
            "when": {"phase": "plan"},
            "json": {
                "summary": "Two modules.",
                "tasks": [
                    {"id": "t1", "title": "One", "instructions": "Write one.py.", "files": ["one.py"]},
                    {
                        "id": "t2",
                        "title": "Two",
                        "instructions": "Write two.py.",
                        "files": ["two.py"],
                        "depends_on": ["t1"],
                    },
                ],
            },
        },
        {
            "when": {"phase": "execute", "task": "t1"},
            "turns": [
                {
                    "text": "I write.",
                    "tools": [{"name": "bash", "input": {"command": "echo 'ONE = 1' > one.py && cat one.py"}}],
                },
                {"tools": [{"name": "finish", "input": {"summary": "one.py is there."}}]},
            ],
        },
        {
            "when": {"phase": "execute", "task": "t2", "attempt": 1},
            "turns": [
                {"tools": [{"name": "write", "input": {"path": "two.py", "content": "TWO = 3\n"}}]},
                {"tools": [{"name": "finish", "input": {"summary": "two.py is there."}}]},
            ],
        },
        {
            "when": {"phase": "execute", "task": "t2", "attempt": "2+", "after_feedback": "two is not two"},
            "turns": [
                {"tools": [{"name": "write", "input": {"path": "two.py", "content": "TWO = 2\n"}}]},
                {"tools": [{"name": "finish", "input": {"summary": "Now two is two."}}]},
            ],
        },
        {"when": {"phase": "review"}, "json": {"verdict": "approve", "summary": "Fine.", "findings": []}},
    ]
}
TIERS = Wishes(planner="sonnet", worker="haiku", reviewer="opus")

CHECK = """import os, sys
if os.path.exists("two.py"):
    import two
    if two.TWO != 2:
        sys.exit("two is not two")
"""


@pytest.fixture
async def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "check.py").write_text(CHECK)
    for argv in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "add", "."],
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "start"],
    ):
        assert (await proc.run(argv, cwd=root)).ok
    return root


async def worked(root: Path, script: Path, shape: str) -> tuple[Run, dict[str, str], int]:
    """(the run, the files that landed, how many calls a server saw)."""
    issue = Issue(id="demo-1", title="Design two modules", labels=("pipeline:plan-execute-review", "security"))
    with WireServer(read_script(script)) as server:
        rows = {"anthropic": {"base_url": f"{server.url}/v1", "format": shape, "api_key": "k"}}
        settings = Settings.model_validate(
            {
                "root": root,
                "tracker": {"kind": "jsonl"},
                "verify": ["python3 check.py"],
                "models": {"script": script} if shape == "scripted" else {},
                "providers": {} if shape == "scripted" else rows,
            }
        )
        await _file(settings, issue)
        async with registry.build(settings) as deps:
            run = await run_issue(issue, deps, lambda name: registry.pipeline(name, settings), TIERS)
        assert run.landing is not None, run.error
        files = {}
        for name in ("one.py", "two.py"):
            files[name] = (await proc.run(["git", "show", f"{run.landing.commit}:{name}"], cwd=root)).stdout
    return run, files, len(server.calls)


async def _file(settings: Settings, issue: Issue) -> None:
    path = settings.root / ".beads" / "issues.jsonl"
    path.parent.mkdir(exist_ok=True)
    row = {"id": issue.id, "title": issue.title, "status": "open", "priority": 2, "issue_type": "task"}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


EXPECTED = {
    "status": "done",
    "tasks": [
        ("t1", "done", "one.py is there.", [(1, "haiku", "passed", 2)]),
        ("t2", "done", "Now two is two.", [(1, "haiku", "failed", 2), (2, "haiku", "passed", 2)]),
    ],
    "reviews": [("approve", "Fine.")],
    "calls": [
        ("plan", None, 1, "sonnet"),
        ("execute", "t1", 1, "haiku"),
        ("execute", "t1", 1, "haiku"),
        ("execute", "t2", 1, "haiku"),
        ("execute", "t2", 1, "haiku"),
        ("execute", "t2", 2, "haiku"),
        ("execute", "t2", 2, "haiku"),
        ("review", None, 1, "opus"),
    ],
}


def story(run: Run) -> dict[str, Any]:
    """What a run came to, without times, prices, ids and commits."""

    def attempts(result: TaskResult) -> list[Any]:
        return [(tried.number, tried.tier, tried.outcome, len(tried.calls)) for tried in result.attempts]

    return {
        "status": run.status,
        "tasks": [(result.task_id, result.status, result.summary, attempts(result)) for result in run.results],
        "reviews": [(review.verdict, review.summary) for review in run.reviews],
        "calls": [(call.phase, call.task_id, call.attempt, call.tier) for call in run.calls],
    }


@pytest.mark.parametrize("shape", ["scripted", "anthropic", "openai", "openai_responses"])
async def test_a_run_is_the_same_whatever_carries_it(shape: str, repo: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(yaml.safe_dump(SCRIPT))
    run, files, calls = await worked(repo, script, shape)
    assert story(run) == EXPECTED and files == {"one.py": "ONE = 1\n", "two.py": "TWO = 2\n"}
    assert run.scripted is (shape == "scripted") and calls == (0 if run.scripted else 8)
    assert run.usage.requests == 8 and run.usage.cost_usd > 0 and run.usage.unpriced_requests == 0
