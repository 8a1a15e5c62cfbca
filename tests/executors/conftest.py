"""A real repository, a real journal, a real sandbox, and sessions in them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.budget import Meter
from harness.config.settings import SandboxSettings, Settings
from harness.journal import SqliteJournal
from harness.proc import run
from harness.protocols import Session, StepLog
from harness.sandbox import Sandbox, detect
from harness.types import Budget, Event, Job, Limits, Task
from harness.workspace import GitWorkspace

FILES = {
    "greet.py": 'def greet(name):\n    return "Helo, " + name\n',
    "test_greet.py": "import unittest\n\nfrom greet import greet\n\n\nclass T(unittest.TestCase):\n"
    "    def test_it(self):\n        self.assertEqual(greet('Ann'), 'Hello, Ann')\n",
}
IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@dataclass
class Bench:
    """One repository with one worktree, and what sessions in it need."""

    workspace: GitWorkspace
    journal: SqliteJournal
    sandbox: Sandbox
    settings: Settings
    path: Path
    base: str
    start: str
    events: list[Event] = field(default_factory=list)

    def session(self, *, budget: Budget | None = None, feedback: str = "", number: int = 1, **job: Any) -> Session:
        """The next session in the worktree; a second one of the same number goes on where the first was."""
        task = job.pop("task", Task(id="t1", title="Greet properly", instructions="greet('Ann') is 'Hello, Ann'."))
        limits = Limits(**{"turns": 12, "command_seconds": 15, **job.pop("limits", {})})
        made = Job(
            run_id="run-1",
            issue_id="bd-1",
            task=task,
            base=self.base,
            ladder=(self.settings.pool("haiku"),),
            executor="any",
            affinity="run-1/t1/0",
            brief="You are one of several.",
            limits=limits,
            **job,
        )
        return Session(
            job=made,
            pool=made.ladder[0],
            number=number,
            path=self.path,
            start=self.start,
            feedback=feedback,
            meter=Meter(budget),
            log=StepLog(self.journal, "run-1", f"execute/t1/attempt-{number}/"),
            emit=self.events.append,
        )

    async def reset(self) -> None:
        """The worktree as a new process finds it."""
        await self.workspace.restore(self.path, self.start)

    async def passes(self) -> bool:
        return (await self.sandbox.run("python -m unittest -q", self.path, 15)).ok


async def git(where: Path, *args: str) -> None:
    done = await run(["git", *args], cwd=where, env={**os.environ, **IDENTITY})
    assert done.ok, done.output


@pytest.fixture
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    repo = tmp_path / "repo"
    repo.mkdir()
    for name, content in FILES.items():
        (repo / name).write_text(content)
    await git(repo, "init", "-q", "-b", "main")
    await git(repo, "add", ".")
    await git(repo, "commit", "-q", "-m", "First")
    workspace = await GitWorkspace.open(repo, tmp_path / "cache")
    journal = SqliteJournal(tmp_path / "journal.db")
    base = await workspace.resolve("HEAD")
    async with workspace.worktree("run-1/t1-0-1", base) as path:
        start = await workspace.snapshot(path)
        sandbox = await detect(SandboxSettings(mode=getattr(request.cls, "MODE", "auto")))
        yield Bench(workspace, journal, sandbox, Settings(root=repo), path, base, start)
    await journal.aclose()
