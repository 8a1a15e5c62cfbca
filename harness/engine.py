"""The whole story: an issue in, reviewed and merged code out.

    Issue ─route→ RouteDecision ─load→ Pipeline ─plan→ Plan ─execute→ TaskResults
          ─integrate→ merged tree ─review→ Review ─land→ Run

There is no resume code. Every paid step is journaled before the next begins, so going on with a run is calling
`run_issue` again with the same journal: what is recorded is read, the rest is done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import BudgetExceeded, HarnessError, Interrupted, ModelUnavailable, PlanError
from harness.models.genai import spent
from harness.phases.execute import execute
from harness.phases.integrate import Integrator, integrate
from harness.phases.jobs import Jobs, measure_baseline
from harness.phases.plan import as_markdown, plan, static_plan
from harness.phases.review import review, wanted
from harness.prompts import brief
from harness.protocols import Deps, StepLog
from harness.spans import ISSUE, PHASE, RUN
from harness.types import UNFINISHED, Budget, Event, Issue, Landing, Phase, Pipeline, RouteDecision, Run, Value

LoadPipeline = Callable[[str], Pipeline]


class Wishes(Value):
    """What the caller wants otherwise than routing and settings say; None leaves it to them."""

    pipeline: str | None = None
    planner: str | None = None
    worker: str | None = None
    reviewer: str | None = None
    executor: str | None = None
    budget: Budget = Budget()
    land: Literal["branch", "merge", "pr", "none"] | None = None
    """`none` keeps the work on the run's own branches and tells the tracker nothing."""


AS_CONFIGURED = Wishes()


async def run_issue(
    issue: Issue, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes = AS_CONFIGURED, meter: Meter | None = None
) -> Run:
    """Take a claimed issue as far as it goes and return its run; the same call again goes on with an unfinished one.

    Raises ModelAuthError and configuration errors; everything else that may happen to work is in the returned run:
    `status`, `error`, `hint`. `meter` is the parent budget (of the day, say).
    """
    run = await unfinished(issue.id, deps) or await begin(issue, deps, load_pipeline, wishes)
    log = StepLog(deps.journal, run.id)
    meter = (meter or Meter(name="day")).child(budget_of(run, deps, wishes), "run")
    run = run.grown(status="running", error=None, hint=None, land=wishes.land or run.land)
    await deps.journal.save(run)
    names = {RUN: run.id, ISSUE: issue.id, "gen_ai.operation.name": "invoke_workflow",
             "gen_ai.workflow.name": run.pipeline.name, "harness.tier": run.route.tier,
             "harness.rule": run.route.rule, "harness.scripted": run.scripted or None}  # fmt: skip
    with deps.spans.span(f"invoke_workflow {run.pipeline.name}", names) as span:
        _tell(run, deps, "run.started", title=issue.title, pipeline=run.pipeline.name, tier=run.route.tier)
        run = await _to_its_end(_Story(run, deps, meter, log))
        span.set({"harness.status": run.status, **spent(run.usage)})
        if not run.accepted:
            span.fail(run.status, run.error or "")
    return run


async def _to_its_end(story: _Story) -> Run:
    """The story told, landed where it is accepted, and saved, whatever it came to."""
    deps, log = story.deps, story.log
    try:
        run = await story.tell()
        run = await land(run, deps, log) if run.status == "running" and run.land != "none" else _closed(run)
    except HarnessError as trouble:
        trouble.hint = trouble.hint and trouble.hint.replace("RUN", story.run.id)
        run = story.run.grown(status=_status_of(trouble), error=trouble.message, hint=trouble.hint)
        if not isinstance(trouble, BudgetExceeded | ModelUnavailable | Interrupted | PlanError):
            await deps.journal.save(run)
            raise
    run = run.grown(finished_at=datetime.now(UTC))
    await deps.journal.save(run)
    _tell(run, deps, "run.finished", status=run.status, error=run.error, usd=str(run.usage.cost_usd))
    return run


class _Story:
    """The run, phase by phase; `run` is always the latest of it, whatever happens."""

    def __init__(self, run: Run, deps: Deps, meter: Meter, log: StepLog) -> None:
        self.run, self.deps, self.meter, self.log = run, deps, meter, log

    async def tell(self) -> Run:
        for phase in self.run.pipeline.phases:
            if self.run.status == "running" and await self._due(phase):
                _tell(self.run, self.deps, "phase.started", phase.id)
                operation = "plan" if phase.kind == "plan" else None
                names = {PHASE: phase.id, "harness.tier": phase.tier, "gen_ai.operation.name": operation}
                with self.deps.spans.span(f"phase {phase.kind}", names) as span:
                    await self._grow(await self._do(phase))
                    if self.run.status != "running":
                        span.fail(self.run.status, self.run.error or "")
        return self.run

    async def _due(self, phase: Phase) -> bool:
        execution = self.run.pipeline.phase("execute")
        if phase.kind == "plan":
            return not (execution and execution.tasks)
        if phase.kind == "review":
            due = await wanted(self.run, phase, self.deps)
            _tell(self.run, self.deps, "phase.trigger", phase.id, trigger=phase.trigger, due=due)
            return due
        return True

    async def _do(self, phase: Phase) -> Run:
        run, deps = self.run, self.deps
        if phase.kind == "plan":
            run = await plan(run, phase, deps, self.meter, self.log)
            return await write_output(run, phase, deps, self.log)
        if phase.kind == "execute":
            return await self._execute(phase)
        return await review(run, phase, self.integrator, deps, self.meter, self.log)

    async def _execute(self, phase: Phase) -> Run:
        run, deps = self.run, self.deps
        files = await deps.workspace.files(run.base)
        if run.plan is None:
            run = run.grown(plan=static_plan(run, phase, files, tuple(deps.settings.tiers)))
            if (planning := run.pipeline.phase("plan")) is not None:
                run = await write_output(run, planning, deps, self.log)
        assert run.plan is not None
        await self._grow(run)
        _tell(run, deps, "plan", tasks=[task.model_dump(mode="json", include=_DAG) for task in run.plan.tasks])
        jobs = Jobs(run, phase, deps, await measure_baseline(run, deps, self.log), brief(run.issue, run.plan, files))
        self.integrator = Integrator(jobs, run.plan, deps, self.meter, self.log)
        run = await execute(run, jobs, self.integrator, deps, self.meter)
        failed = [result for result in run.results if result.status != "done"]
        if failed:
            return run.grown(
                status="failed",
                error=f"{len(failed)} of {len(run.results)} tasks are not done; {failed[0].task_id}: {failed[0].error}",
                superseded=tuple(self.integrator.replaced),
            )
        await self._grow(run)
        run = await integrate(run, self.integrator)
        if run.integration and run.integration.error:
            run = run.grown(status="failed", error=f"the tasks' work does not fit together: {run.integration.error}")
        return run

    async def _grow(self, run: Run) -> None:
        self.run = run
        await self.deps.journal.save(run)


_DAG = {"id", "title", "depends_on", "tier", "files"}


async def begun(issue_id: str, deps: Deps) -> Run | None:
    """The issue's latest run as it was saved, if it can go on."""
    latest = await deps.journal.runs(issue=issue_id, limit=1)
    return latest[0] if latest and latest[0].status in UNFINISHED else None


async def unfinished(issue_id: str, deps: Deps) -> Run | None:
    """The same run, its story to be told again from the journal."""
    run = await begun(issue_id, deps)
    return run.untold() if run else None


async def begin(issue: Issue, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes) -> Run:
    """A new run: routed, its pipeline loaded with the caller's wishes in it, its base commit fixed."""
    route = deps.router.route(issue)
    pipeline = staffed(load_pipeline(wishes.pipeline or route.pipeline), route, deps.settings, wishes)
    # The highest so far, not how many there are: some may have been forgotten.
    earlier = max((int(run.id.rpartition("-r")[2]) for run in await deps.journal.runs(issue=issue.id)), default=0)
    run = Run(
        id=f"{issue.id}-r{earlier + 1}",
        issue=issue,
        route=route,
        pipeline=pipeline,
        repo=str(deps.workspace.repo),
        base=await deps.workspace.resolve("HEAD"),
        base_branch=await deps.workspace.branch(),
        land=wishes.land or deps.settings.land,
        started_at=datetime.now(UTC),
        scripted=deps.models.scripted,
    )
    return run


def staffed(pipeline: Pipeline, route: RouteDecision, settings: Settings, wishes: Wishes) -> Pipeline:
    """The pipeline with every phase's tier and executor decided.

    The command line wins; then an explicit `model:` label, for the workers; then the pipeline; then the settings. A
    planner is never weaker than the tier the issue was routed to.
    """
    strength = list(settings.tiers).index

    def tier(phase: Phase) -> str:
        if phase.kind == "plan":
            return wishes.planner or phase.tier or max(settings.planner, route.tier, key=strength)
        if phase.kind == "review":
            return wishes.reviewer or phase.tier or settings.reviewer
        labelled = route.tier if route.strategy == "label" else None
        return wishes.worker or settings.worker or labelled or phase.tier or route.tier

    def staff(phase: Phase) -> Phase:
        executor = wishes.executor or phase.executor or settings.executor if phase.kind == "execute" else None
        return phase.model_copy(update={"tier": tier(phase), "executor": executor})

    return pipeline.model_copy(update={"phases": tuple(map(staff, pipeline.phases))})


def budget_of(run: Run, deps: Deps, wishes: Wishes) -> Budget:
    """The run's bounds: the command line's, else the smaller of the pipeline's and the settings'."""

    def bound(name: str) -> Any:
        asked = getattr(wishes.budget, name)
        known = [
            value
            for value in (getattr(run.pipeline.budget, name), getattr(deps.settings.budget, name))
            if value is not None
        ]
        return asked if asked is not None else min(known, default=None)

    return Budget(**{name: bound(name) for name in Budget.model_fields})


async def write_output(run: Run, phase: Phase, deps: Deps, log: StepLog) -> Run:
    """The plan's document in the run's folder and, where the pipeline says so, as the first commit of the work."""
    if not phase.output or run.plan is None:
        return run
    name, text = phase.output, as_markdown(run.issue, run.plan)
    folder = deps.settings.state / "runs" / run.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    if not phase.commit_output:
        return run

    async def commit() -> str:
        async with deps.workspace.worktree(f"{run.id}/plan", run.base) as path:
            (path / name).write_text(text, encoding="utf-8")
            return await deps.workspace.commit(path, run.base, f"Plan of {run.issue.id}") or run.base

    return run.grown(start=await log.step(f"{phase.id}/commit", str, commit))


async def land(run: Run, deps: Deps, log: StepLog) -> Run:
    """The accepted work handed over, the tracker told, findings outside this issue filed; each of them once."""
    assert run.integration is not None
    title, commit = f"{run.issue.id}: {run.issue.title}", run.integration.commit
    mode = run.land or deps.settings.land
    _tell(run, deps, "land", mode=mode)

    async def hand_over() -> Landing:
        branch = f"harness/{run.issue.id}"
        return await deps.workspace.land(branch, commit, run.base_branch, mode, title, report_text(run))

    landing = await log.step("land", Landing, hand_over)
    run = run.grown(landing=landing, status="done")
    run = run.grown(filed=await _file_findings(run, deps, log))

    async def comment() -> bool:
        await deps.tracker.comment(run.issue.id, report_text(run), deps.actor)
        return True

    async def close() -> bool:
        await deps.tracker.close(run.issue.id, f"landed as {landing.commit[:12]} on {landing.into}", deps.actor)
        return True

    await log.step("comment", bool, comment)
    if landing.mode == "merge":
        await log.step("close", bool, close)
    return run


async def _file_findings(run: Run, deps: Deps, log: StepLog) -> tuple[str, ...]:
    """Out-of-scope findings as issues of their own."""
    filed = []
    findings = [finding for review in run.reviews for finding in review.findings if finding.out_of_scope]
    for number, finding in enumerate(findings):
        draft = Issue(id="", title=finding.title, body=finding.detail, labels=("harness:found",), priority=3)
        filed.append(
            await log.step(f"filed-{number}", str, partial(deps.tracker.file, draft, run.issue.id, deps.actor))
        )
    return tuple(filed)


def report_text(run: Run) -> str:
    """What was done, by which models, at what cost: the comment on the issue and the body of a pull request."""
    models = ", ".join(sorted({call.model for call in run.calls})) or "no model"
    lines = [f"harness {run.id}: {run.plan.summary if run.plan else run.issue.title}"]
    for result in run.results:
        tries = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
        tier = result.attempts[-1].tier if result.attempts else "-"
        lines.append(f"- {result.task_id}: {result.status} by {tier}{tries}")
    lines += [f"- review {one.round + 1}: {one.verdict}, {len(one.findings)} findings" for one in run.reviews]
    cost = f"${run.usage.cost_usd.quantize(Decimal('0.0001'))}"
    if run.usage.unpriced_requests:
        cost += f" and {run.usage.unpriced_requests} calls of unknown price"
    lines.append(f"Models: {models}. Cost: {cost}.")
    if run.scripted:
        lines.append("Scripted model: no API was called; the cost is what these tokens would have cost.")
    if run.landing:
        where = run.landing.into or run.landing.branch
        lines.append(f"{run.landing.mode}: {run.landing.commit[:12]} on {where}. {run.landing.note}".rstrip())
    return "\n".join(lines)


def _closed(run: Run) -> Run:
    """A run that lands nowhere is done when nothing stopped it."""
    return run.grown(status="done") if run.status == "running" else run


def _status_of(trouble: HarnessError) -> str:
    if isinstance(trouble, BudgetExceeded):
        return "over_budget"
    return "failed" if isinstance(trouble, PlanError) else "interrupted"


def _tell(run: Run, deps: Deps, kind: str, phase: str | None = None, **data: Any) -> None:
    deps.emit(Event(run_id=run.id, issue_id=run.issue.id, kind=kind, at=datetime.now(UTC), phase=phase, data=data))
