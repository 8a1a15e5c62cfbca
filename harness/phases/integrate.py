"""Integrate: the tasks' commits merged in dependency order into one tree that passes as a whole.

A textual conflict: the later task is redone on the integrated tree. A clean merge whose tree fails verification: the
first task in order that breaks it is found by bisection and redone on top of those before it. Both with the failure as
feedback, both bounded by `max_redo` a task. Merges are made in the object store; nobody's checkout is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio

from harness.budget import Meter
from harness.graph import order
from harness.phases.jobs import Jobs
from harness.protocols import Deps, StepLog
from harness.strangers import one_line
from harness.types import Check, Event, Integration, Plan, Run, Task, TaskResult, Value
from harness.verify import failures, judge, run_checks


class Checked(Value):
    """What verification said of one tree."""

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class MergedTasks:
    """A merge of tasks: its commit, the tasks' latest results, and which had to be redone for conflicts."""

    commit: str
    results: dict[str, TaskResult]
    conflicts: tuple[str, ...] = ()
    failed: TaskResult | None = None
    """A task whose redo failed; the merge stops before it."""
    steps: tuple[tuple[str, str], ...] = ()
    """(task id, commit after merging it), in order."""


@dataclass
class Integrator:
    """Merges results of one run; remembers how often each task was redone."""

    jobs: Jobs
    plan: Plan
    deps: Deps
    meter: Meter
    log: StepLog
    allowance: int = 0
    """Further redos that a review has granted."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    """Two tasks waiting for the same ancestors must not both redo one of them."""
    redone: dict[str, int] = field(default_factory=dict)
    replaced: list[TaskResult] = field(default_factory=list)
    """Results that a redo has superseded."""

    async def merge(self, base: str, tasks: Sequence[Task], results: Mapping[str, TaskResult]) -> MergedTasks:
        """`tasks`, which all have results, merged onto `base` in the given order; conflicting ones are redone."""
        async with self.lock:
            return await self._merge(base, tasks, {task.id: results[task.id] for task in tasks})

    async def _merge(self, base: str, tasks: Sequence[Task], latest: dict[str, TaskResult]) -> MergedTasks:
        commit = base
        conflicts: list[str] = []
        steps: list[tuple[str, str]] = []
        for task in tasks:
            while True:
                theirs = latest[task.id].commit
                if latest[task.id].status != "done" or theirs is None:
                    return MergedTasks(commit, latest, tuple(conflicts), latest[task.id], tuple(steps))
                merged = await self.deps.workspace.merge(
                    commit, theirs, f"Merge {task.id}: {one_line(task.title)[:72]}"
                )
                if merged.commit is not None:
                    commit = merged.commit
                    steps.append((task.id, commit))
                    break
                conflicts.append(task.id)
                self._tell("merge", task.id, conflict=list(merged.conflicts))
                feedback = (
                    f"Your earlier change conflicts in {', '.join(merged.conflicts)} with work that has been merged "
                    "since. You now have a checkout with that work in it: do your task again on top of it, and keep "
                    "what the others did."
                )
                latest[task.id] = await self.redo(task, commit, feedback, latest[task.id])
        return MergedTasks(commit, latest, tuple(conflicts), None, tuple(steps))

    async def redo(
        self, task: Task, base: str, feedback: str, before: TaskResult, tier: str | None = None
    ) -> TaskResult:
        """The task again on another base; a failed result when it was redone too often already."""
        count = self.redone[task.id] = self.redone.get(task.id, before.round) + 1
        if count > self.deps.settings.max_redo + self.allowance:
            return before.model_copy(update={"status": "failed", "error": f"redone {count - 1} times: {feedback}"})
        self.replaced.append(before)
        tier = tier or (before.attempts[-1].tier if before.attempts else None)
        return await self.deps.backend.run(self.jobs.make(task, base, feedback, count, tier), self.meter)

    async def whole(self, base: str, results: Mapping[str, TaskResult]) -> tuple[Integration, dict[str, TaskResult]]:
        """All of the plan merged and verified, with whatever had to be redone for it."""
        tasks = order(self.plan)
        latest = dict(results)
        conflicts: list[str] = []
        broken: list[str] = []
        while True:
            merged = await self.merge(base, tasks, latest)
            latest.update(merged.results)
            conflicts += merged.conflicts
            state = Integration(
                commit=merged.commit,
                merged=tuple(name for name, _ in merged.steps),
                conflicts=tuple(conflicts),
                broken=tuple(broken),
            )
            if merged.failed is not None:
                return state.model_copy(
                    update={"error": merged.failed.error or f"{merged.failed.task_id} failed"}
                ), latest
            checks = await self.check(merged.commit)
            state = state.model_copy(update={"checks": checks})
            if all(check.ok for check in checks):
                return state, latest
            culprit, before = await self._first_bad(base, merged.steps)
            task = next(task for task in tasks if task.id == culprit)
            partner = await self._partner(base, task, tasks, latest)
            broken.append(culprit)
            self._tell("merge", culprit, broken_with=partner)
            latest[culprit] = await self.redo(task, before, _broken(partner, failures(checks)), latest[culprit])
            if latest[culprit].status != "done":
                return state.model_copy(update={"broken": tuple(broken), "error": latest[culprit].error}), latest

    async def check(self, commit: str) -> tuple[Check, ...]:
        """The run's verify commands on a commit's tree; measured once a commit."""
        commands = tuple(dict.fromkeys((*self.jobs.verify, *sorted(self._promised()))))
        if not commands:
            return ()

        async def measure() -> Checked:
            seconds = self.deps.settings.limits.command_seconds
            async with self.deps.workspace.worktree(f"{self.jobs.run.id}/integrated", commit) as path:
                return Checked(checks=await run_checks(self.deps.sandbox, commands, path, seconds))

        tree = await self.deps.workspace.resolve(f"{commit}^{{tree}}")
        checked = await self.log.step(f"integrate/check-{tree[:16]}", Checked, measure)
        return judge(checked.checks, self.jobs.baseline, self._promised())

    def _promised(self, only: Collection[str] | None = None) -> set[str]:
        """The verify commands of the plan's tasks, or of some of them."""
        return {command for task in self.plan.tasks if only is None or task.id in only for command in task.verify}

    async def _first_bad(self, base: str, steps: Sequence[tuple[str, str]]) -> tuple[str, str]:
        """The first task in order whose merge makes verification fail, and the good commit before it."""
        low, high = 0, len(steps) - 1  # steps[high] is known to be bad
        while low < high:
            middle = (low + high) // 2
            if all(check.ok for check in await self.check_of(steps, middle)):
                low = middle + 1
            else:
                high = middle
        before = steps[low - 1][1] if low else base
        return steps[low][0], before

    async def check_of(self, steps: Sequence[tuple[str, str]], upto: int) -> tuple[Check, ...]:
        """Verification of the merge of the first `upto + 1` tasks, without the checks promised by later ones."""
        now = self._promised({name for name, _ in steps[: upto + 1]})
        later = self._promised() - now
        return tuple(check for check in await self.check(steps[upto][1]) if check.command not in later)

    async def _partner(
        self, base: str, culprit: Task, tasks: Sequence[Task], results: Mapping[str, TaskResult]
    ) -> str | None:
        """The one earlier task with which alone the culprit breaks, for the feedback; None when it takes more."""
        theirs = results[culprit.id].commit
        for other in tasks[: tasks.index(culprit)]:
            ours = results[other.id].commit
            if ours is None or theirs is None or other.id in culprit.depends_on:
                continue
            pair = await self.deps.workspace.merge(ours, theirs, "pair")
            if pair.commit is None:
                continue
            steps = ((other.id, ours), (culprit.id, pair.commit))
            if not all(check.ok for check in await self.check_of(steps, 1)):
                return other.id
        return None

    def _tell(self, kind: str, task_id: str, **data: Any) -> None:
        run = self.jobs.run
        self.deps.emit(
            Event(
                run_id=run.id,
                issue_id=run.issue.id,
                kind=kind,
                at=datetime.now(UTC),
                phase="integrate",
                task_id=task_id,
                data=data,
            )
        )


async def integrate(run: Run, integrator: Integrator) -> Run:
    """The run with all its tasks' work in one verified commit, or with the reason why there is none."""
    assert run.plan is not None
    state, latest = await integrator.whole(run.floor, {result.task_id: result for result in run.results})
    if state.error is None:
        await integrator.deps.workspace.keep(f"harness/{run.id}/integrated", state.commit)
    return run.grown(
        integration=state,
        results=tuple(latest[task.id] for task in run.plan.tasks),
        superseded=tuple(integrator.replaced),
    )


def _broken(partner: str | None, output: str) -> str:
    with_whom = f" together with {partner}'s work" if partner else ""
    return (
        f"Your change passed alone, but the tree with everybody's work fails verification{with_whom}. You now have a "
        f"checkout with the others' work in it: do your task again so that all of it passes.\n\n{output}"
    )
