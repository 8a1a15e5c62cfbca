"""The seams: one to eight methods each; those with several implementations have one contract test over them all.

    Tracker     where issues come from and where their fate is written
    Strategy    an opinion on which tier an issue needs
    ModelClient one model call: choose, limit, retry, fall back, price
    Executor    how one attempt at a task is done, in a worktree
    Backend     where tasks run, and how many at once
    Workspace   git: worktrees, commits, merges, landing
    Journal     what has been done and paid for, so that nothing is done or paid for twice

`Deps` holds one of each; `registry.build` makes it, and tests make their own with fakes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.spans import Spans
from harness.types import (
    Considered,
    Event,
    Issue,
    Job,
    Landing,
    ModelCall,
    ModelReply,
    ModelRequest,
    RouteDecision,
    Run,
    TaskResult,
    TierPool,
    Value,
)
from harness.types import Opinion as Opinion

if TYPE_CHECKING:
    from harness.budget import Meter
    from harness.config.settings import Settings
    from harness.sandbox import Sandbox

T = TypeVar("T")
Emit = Callable[[Event], None]


class Wanted(Value):
    """Which ready issues a worker takes."""

    labels: tuple[str, ...] = ()
    """All of these."""
    types: tuple[str, ...] = ()
    """Any of these; empty is any."""
    parent: str | None = None
    exclude: tuple[str, ...] = ()
    """Issue ids."""
    limit: int | None = None


class Tracker(Protocol):
    name: str

    async def get(self, issue_id: str) -> Issue:
        """The issue; raises IssueNotFound."""

    async def ready(self, wanted: Wanted) -> list[Issue]:
        """Open, unclaimed, unblocked issues: most urgent first, then oldest."""

    async def children(self, issue_id: str) -> list[Issue]:
        """Child issues of an epic, with their dependencies; empty when it has none."""

    async def claim(self, issue_id: str, actor: str) -> bool:
        """Take the issue for `actor` and read it back; False when somebody else holds it."""

    async def comment(self, issue_id: str, text: str, actor: str) -> None: ...

    async def close(self, issue_id: str, reason: str, actor: str) -> None:
        """The work has landed."""

    async def release(self, issue_id: str, reason: str, actor: str, labels: Sequence[str] = ()) -> None:
        """Give the issue back, open and unassigned, with a comment that says why, and labels added."""

    async def file(self, issue: Issue, discovered_from: str, actor: str) -> str:
        """Create an issue found while working on another; returns its id."""


class Strategy(Protocol):
    name: str

    def consider(self, issue: Issue) -> Considered:
        """Pure and quick: no network, no clock, the same answer for the same data."""


class Router(Protocol):
    def route(self, issue: Issue) -> RouteDecision: ...


class ModelClient(Protocol):
    scripted: bool
    """True: no API is called, and every report says so."""

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        """One reply, priced and counted on `meter`; raises ModelError or BudgetExceeded."""

    async def aclose(self) -> None: ...


class Worked(Value):
    """What an executor session came to, before anybody has verified it."""

    outcome: str
    """`finished`; `limit` (turns, time, a loop); `budget`; `error`."""
    summary: str = ""
    error: str | None = None
    calls: tuple[ModelCall, ...] = ()
    model: str = ""


@dataclass(frozen=True)
class Session:
    """One attempt at one task: everything an executor gets."""

    job: Job
    pool: TierPool
    number: int
    """Of the attempt, from 1."""
    path: Path
    """The worktree: clean, at the job's base commit or at the snapshot of the last recorded turn."""
    start: str
    """Tree the attempt starts from."""
    feedback: str
    meter: Meter
    log: StepLog
    emit: Emit
    spans: Spans = field(default_factory=Spans)


class Executor(Protocol):
    name: str
    shared_prefix: bool
    """Its sessions begin with the job's brief, byte for byte, so that a warm cache serves them all."""

    async def work(self, session: Session) -> Worked:
        """Change files in the worktree. Whatever it starts is dead when this returns or is cancelled."""


class Backend(Protocol):
    capacity: int
    """How many jobs may be under way at once."""

    async def run(self, job: Job, meter: Meter) -> TaskResult:
        """Do the job somewhere, once, however often it is asked; idempotent by `(run_id, job.key)`.

        A worker elsewhere keeps within `job.budget` itself, and its result's usage is added to `meter` on return.
        """

    async def aclose(self) -> None: ...


class Merged(Value):
    """A merge made without a checkout: a commit, or the paths in conflict."""

    commit: str | None
    conflicts: tuple[str, ...] = ()
    message: str = ""


class Workspace(Protocol):
    repo: Path

    async def resolve(self, ref: str) -> str:
        """The commit a name stands for; raises GitError."""

    async def branch(self) -> str | None:
        """The branch checked out in the user's repository, or None when detached."""

    async def files(self, commit: str) -> tuple[str, ...]:
        """Paths tracked at a commit."""

    def worktree(self, name: str, commit: str) -> AbstractAsyncContextManager[Path]:
        """A private checkout outside the user's tree, clean at `commit`, gone afterwards."""

    async def snapshot(self, path: Path) -> str:
        """The worktree's present content as a tree object, untracked files included."""

    async def restore(self, path: Path, tree: str) -> None:
        """Make the worktree's content exactly that tree."""

    async def commit(self, path: Path, parent: str, message: str) -> str | None:
        """Commit the worktree's content on top of `parent`; None when nothing changed."""

    async def changed(self, base: str, commit: str) -> tuple[str, ...]:
        """Paths that differ."""

    async def diff(self, base: str, commit: str, paths: Sequence[str] = ()) -> str:
        """A unified diff as text."""

    async def merge(self, ours: str, theirs: str, message: str) -> Merged:
        """Merge two commits in the object store; nobody's checkout is touched."""

    async def keep(self, branch: str, commit: str) -> None:
        """Point a branch of ours (`harness/…`) at a commit, so that it is not collected."""

    async def land(self, branch: str, commit: str, into: str | None, mode: str, title: str, body: str) -> Landing:
        """Hand the work to the user as `mode` says; raises GitError and leaves everything as it was."""


class Steps(Protocol):
    async def step(self, run_id: str, key: str, kind: type[T], make: Callable[[], Awaitable[T]]) -> T:
        """The recorded value of (run, key), or `make()`'s, recorded before it is returned.

        `kind` is a Value type, or any type that pydantic can read and write as JSON.
        """

    async def look(self, run_id: str, key: str, kind: type[T]) -> T | None:
        """The recorded value, or None."""


class Journal(Steps, Protocol):
    async def save(self, run: Run) -> None:
        """The run's present state, for `runs`, `show` and the console."""

    async def load(self, run_id: str) -> Run | None: ...

    async def runs(
        self,
        active: bool = False,
        limit: int | None = None,
        issue: str | None = None,
        since: datetime | None = None,
    ) -> list[Run]:
        """Newest first; of one issue, or begun at `since` or later, where that is asked for."""

    def note(self, event: Event) -> None:
        """Remember an event, soon; never waits."""

    async def events(self, run_id: str, after: int = 0) -> list[tuple[int, Event]]:
        """Events with sequence numbers above `after`."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True)
class StepLog:
    """A journal bound to one run and a prefix: names nest like folders."""

    journal: Steps
    run_id: str
    prefix: str = ""

    def under(self, name: str) -> StepLog:
        return StepLog(self.journal, self.run_id, f"{self.prefix}{name}/")

    async def step(self, key: str, kind: type[T], make: Callable[[], Awaitable[T]]) -> T:
        return await self.journal.step(self.run_id, self.prefix + key, kind, make)

    async def look(self, key: str, kind: type[T]) -> T | None:
        return await self.journal.look(self.run_id, self.prefix + key, kind)


@dataclass(frozen=True)
class Deps:
    """One of each seam, and the settings they were made from."""

    settings: Settings
    tracker: Tracker
    router: Router
    models: ModelClient
    executors: Callable[[str], Executor]
    """By name; made when first asked for."""
    backend: Backend
    workspace: Workspace
    journal: Journal
    sandbox: Sandbox
    emit: Emit
    actor: str
    """Who claims issues: unique to this process."""
    spans: Spans = field(default_factory=Spans)
    extras: Mapping[str, Any] = field(default_factory=dict)
