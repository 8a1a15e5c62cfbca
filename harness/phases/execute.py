"""Execute: the plan's tasks side by side, each on the merged work of those it depends on.

Longest remaining path first; one call of the phase goes ahead and warms the model's prompt cache before the rest start;
a failed task fails only what depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from harness.budget import Meter
from harness.errors import HarnessError
from harness.graph import Frontier, order
from harness.phases.integrate import Integrator
from harness.phases.jobs import Jobs
from harness.protocols import Deps
from harness.types import Event, Plan, Run, Task, TaskResult

WARM_SECONDS = 20.0
"""How long the others wait at most for the first call's reply before they start anyway."""


async def execute(run: Run, jobs: Jobs, integrator: Integrator, deps: Deps, meter: Meter) -> Run:
    """The run with a result for every task of its plan.

    Raises BudgetExceeded or ModelError when work cannot go on; by then every task under way has finished or reached
    its last recorded turn.
    """
    assert run.plan is not None
    parallel = deps.settings.max_parallel if jobs.phase.parallel else 1
    results = await _Crew(jobs, deps, meter, integrator).work(run.plan, parallel)
    return run.grown(results=tuple(results[task.id] for task in run.plan.tasks))


@dataclass
class _Crew:
    jobs: Jobs
    deps: Deps
    meter: Meter
    integrator: Integrator
    results: dict[str, TaskResult] = field(default_factory=dict)
    trouble: HarnessError | None = None

    async def work(self, plan: Plan, parallel: int) -> dict[str, TaskResult]:
        """All tasks to their end, bounded; raises the first trouble once everybody has stopped."""
        frontier, warm, changed = Frontier(plan), anyio.Event(), anyio.Event()
        slots = min(parallel, self.deps.backend.capacity)
        under_way = 0
        if slots == 1 or not self.deps.executors(self.jobs.executor).shared_prefix:
            warm.set()  # nobody to wait for, or nothing to share

        async def one(task: Task) -> None:
            nonlocal under_way, changed
            try:
                self.results[task.id] = result = await self._do(task, plan)
                for skipped in frontier.done(task.id) if result.status == "done" else frontier.failed(task.id):
                    self._skip(skipped, task.id)
            except HarnessError as error:
                # Reasons that are not the task's: nobody new starts, those under way come to their end.
                self.trouble = self.trouble or error
            finally:
                under_way -= 1
                warm.set()
                changed.set()

        async with anyio.create_task_group() as group:
            while True:
                task = None if self.trouble or under_way >= slots else frontier.take()
                if task is not None:
                    under_way += 1
                    group.start_soon(one, task)
                    if not warm.is_set():
                        await self._first_reply(warm)
                elif under_way == 0:
                    break
                else:
                    changed = anyio.Event()
                    await changed.wait()
        if self.trouble:
            raise self.trouble
        return self.results

    async def _do(self, task: Task, plan: Plan) -> TaskResult:
        needed = ancestors(plan, task.id)
        before = await self.integrator.merge(
            self.jobs.run.floor, [other for other in order(plan) if other.id in needed], self.results
        )
        self.results.update(before.results)
        if before.failed is not None:
            return TaskResult(task_id=task.id, status="failed", error=f"{before.failed.task_id} could not be merged")
        return await self.deps.backend.run(self.jobs.make(task, before.commit), self.meter)

    async def _first_reply(self, warm: anyio.Event) -> None:
        """Wait until the phase's first session has its first reply: from then on its prefix is in the cache."""
        before = self.meter.usage.requests
        with anyio.move_on_after(WARM_SECONDS):
            # The meter is a sum that anyone may read; it tells nobody that it grew.
            while not warm.is_set() and self.meter.usage.requests == before:  # noqa: ASYNC110
                await anyio.sleep(0.005)
        warm.set()

    def _skip(self, task_id: str, because: str) -> None:
        self.results[task_id] = TaskResult(
            task_id=task_id, status="skipped", error=f"not started: it depends on {because}, which failed"
        )
        run = self.jobs.run
        event = Event(
            run_id=run.id,
            issue_id=run.issue.id,
            kind="task.finished",
            at=datetime.now(UTC),
            phase="execute",
            task_id=task_id,
            data={"status": "skipped", "because": because},
        )
        self.deps.emit(event)


def ancestors(plan: Plan, task_id: str) -> set[str]:
    """Ids of all tasks that must be done before this one."""
    needs = {task.id: task.depends_on for task in plan.tasks}
    found: set[str] = set()
    todo = list(needs[task_id])
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += needs[name]
    return found
