"""Jobs: what is the same for every task of a run, and what failed before any of them began."""

from __future__ import annotations

from dataclasses import dataclass

from harness.protocols import Deps, StepLog
from harness.types import Job, Phase, Run, Task
from harness.verify import Baseline, baseline_of, run_checks


async def measure_baseline(run: Run, deps: Deps, log: StepLog) -> Baseline:
    """What the repository's and the pipeline's verify commands say before anybody has touched anything."""
    commands = tuple(dict.fromkeys((*deps.settings.verify, *run.pipeline.verify)))

    async def measure() -> Baseline:
        async with deps.workspace.worktree(f"{run.id}/baseline", run.floor) as path:
            checks = await run_checks(deps.sandbox, commands, path, deps.settings.limits.command_seconds)
        return baseline_of(checks)

    return await log.step("baseline", Baseline, measure) if commands else Baseline()


@dataclass(frozen=True)
class Jobs:
    """Makes jobs: all that is the same for every task of a run."""

    run: Run
    phase: Phase
    deps: Deps
    baseline: Baseline
    brief: str

    @property
    def verify(self) -> tuple[str, ...]:
        """Commands that hold for any work of this run, each once."""
        return tuple(dict.fromkeys((*self.deps.settings.verify, *self.run.pipeline.verify)))

    @property
    def executor(self) -> str:
        # Runs of earlier versions have not written it down.
        return self.phase.executor or self.deps.settings.executor

    def make(self, task: Task, base: str, feedback: str = "", round: int = 0, tier: str | None = None) -> Job:
        settings, run = self.deps.settings, self.run
        first = tier or task.tier or self.phase.tier or run.route.tier
        return Job(
            run_id=run.id,
            issue_id=run.issue.id,
            task=task,
            base=base,
            ladder=settings.ladder(first),
            executor=self.executor,
            affinity=f"{run.id}/{task.id}/{round}",
            brief=self.brief,
            feedback=feedback,
            verify=self.verify,
            known_failures=self.baseline.failing,
            budget=settings.task_budget,
            limits=settings.limits,
            round=round,
        )
