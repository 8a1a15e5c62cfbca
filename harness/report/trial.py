"""The side-by-side experiment: the same issues on several tiers, each alone, verified, landing nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from harness.budget import Meter
from harness.config.settings import Settings
from harness.engine import Wishes, run_issue
from harness.errors import BudgetExceeded
from harness.protocols import Deps, Router
from harness.report.experiments import STRATEGY, record
from harness.report.intervals import wilson
from harness.types import Issue, Phase, Pipeline, RouteDecision, Run, Value

CRITERION = 0.85
"""What the cheaper tier must reach: of all tasks, and of the stronger tier's successes."""
ENOUGH = 20


class Result(Value):
    """One issue on one tier."""

    issue_id: str
    title: str
    tier: str
    run_id: str
    success: bool
    """All verify commands passed, without help of another tier."""
    counts: bool
    """False: it was stopped (budget, cancellation), so it says nothing."""
    cost_usd: Decimal
    unpriced: int
    seconds: float
    attempts: int
    note: str = ""


Verdict = Literal["met", "missed", "unclear"]


class Comparison(Value):
    """The first tier held against the last, over the issues that both have tried."""

    pairs: int
    cheap: str
    strong: str
    cheap_solved: int
    strong_solved: int
    cheap_cost: Decimal
    strong_cost: Decimal
    interval: tuple[float, float]
    """Of the cheap tier's success rate, 95 %."""
    relative: float | None
    """Successes of the cheap tier as a share of the strong one's."""
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class _Forced:
    """The real router's rule with another tier: so the outcome teaches under the rule it would have been routed by."""

    router: Router
    settings: Settings
    tier: str

    def route(self, issue: Issue) -> RouteDecision:
        pool = self.settings.pool(self.tier).models
        return self.router.route(issue).model_copy(
            update={
                "tier": self.tier, "model": pool[0], "candidates": pool, "pipeline": "experiment", "strategy": STRATEGY,
                "reason": f"side-by-side experiment on {self.tier}", "confidence": 1.0, "propensity": 1.0,
            }
        )  # fmt: skip


async def trial(
    issues: Sequence[Issue], tiers: Sequence[str], deps: Deps, usd: Decimal | None, tell: Callable[[Result], None],
) -> tuple[list[Result], str | None]:  # fmt: skip
    """Every issue on every tier; returns the results and, if it was stopped, why.

    Runs that an earlier, stopped experiment has finished are read from the journal, not paid again. Each run's work
    stays on its own branches; the tracker is told nothing.
    """
    meter = Meter(name="experiment")
    if usd is not None:
        meter = Meter(meter.budget.model_copy(update={"usd": usd}), name="experiment")
    results: list[Result] = []
    for issue in issues:
        for tier in tiers:
            try:
                meter.check()
            except BudgetExceeded as reached:
                return results, reached.message
            run = await _one(issue, tier, deps, meter)
            await record(run, deps.settings)
            results.append(result_of(run, issue, tier))
            tell(results[-1])
    return results, None


async def _one(issue: Issue, tier: str, deps: Deps, meter: Meter) -> Run:
    name = f"{issue.id}.x-{tier}"
    for run in await deps.journal.runs():
        if run.issue.id == name and run.status in ("done", "failed"):
            return run
    # Without stronger tiers in the settings there is no ladder to climb: the tier stands alone.
    alone = deps.settings.model_copy(update={"tiers": {tier: deps.settings.tiers[tier]}})
    forced = replace(deps, settings=alone, router=_Forced(deps.router, deps.settings, tier))
    pipeline = Pipeline(
        name="experiment",
        phases=(Phase(id="1_execution", kind="execute", tier=tier, parallel=False),),
        source="experiment",
    )
    copy = issue.model_copy(update={"id": name})
    return await run_issue(copy, forced, lambda _: pipeline, Wishes(worker=tier, land="none"), meter)


def result_of(run: Run, issue: Issue, tier: str) -> Result:
    """What one run came to."""
    attempts = [attempt for result in run.results for attempt in result.attempts]
    usage = run.usage
    return Result(
        issue_id=issue.id,
        title=issue.title,
        tier=tier,
        run_id=run.id,
        success=run.accepted,
        counts=run.status in ("done", "failed"),
        cost_usd=usage.cost_usd,
        unpriced=usage.unpriced_requests,
        seconds=sum(attempt.seconds for attempt in attempts),
        attempts=len(attempts),
        note="" if run.accepted else (run.error or run.status),
    )


def compare(results: Sequence[Result], cheap: str, strong: str) -> Comparison:
    """The criterion: the cheap tier solves at least 85 % of the tasks, and 85 % of what the strong tier solves."""
    by = {(result.issue_id, result.tier): result for result in results if result.counts}
    pairs = [
        (by[issue, cheap], by[issue, strong])
        for issue in dict.fromkeys(result.issue_id for result in results)
        if (issue, cheap) in by and (issue, strong) in by
    ]
    n = len(pairs)
    solved = [sum(pair[side].success for pair in pairs) for side in (0, 1)]
    low, high = wilson(solved[0], n)
    relative = solved[0] / solved[1] if solved[1] else None
    verdict, reason = _verdict(n, solved[0], low, high, relative)
    return Comparison(
        pairs=n,
        cheap=cheap,
        strong=strong,
        cheap_solved=solved[0],
        strong_solved=solved[1],
        cheap_cost=sum((pair[0].cost_usd for pair in pairs), Decimal(0)),
        strong_cost=sum((pair[1].cost_usd for pair in pairs), Decimal(0)),
        interval=(low, high),
        relative=relative,
        verdict=verdict,
        reason=reason,
    )


def _verdict(n: int, solved: int, low: float, high: float, relative: float | None) -> tuple[Verdict, str]:
    if not n:
        return "unclear", "no issue was tried on both tiers to its end"
    if high < CRITERION or (relative is not None and relative < CRITERION and n >= ENOUGH):
        return "missed", f"{solved} of {n} solved"
    if solved / n >= CRITERION and (relative is None or relative >= CRITERION):
        if low >= CRITERION:
            return "met", f"{solved} of {n} solved, and the interval is above 85 %"
        return "unclear", f"{solved} of {n} solved meets 85 %, but so few issues leave {low:.0%} to {high:.0%} open"
    return "unclear", f"{solved} of {n} solved is below 85 %, but so few issues leave {low:.0%} to {high:.0%} open"
