"""What a run cost against what the same work would have cost with one model: an estimate, with its assumptions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from harness.config.settings import Settings
from harness.pricing import cost_of
from harness.types import ModelCall, Run, Usage, Value, total

ASSUMPTIONS = (
    "Estimate: the tokens of the attempts that did the work are priced again at the other model's rates, cache reads "
    "and writes included; another model might have needed more or fewer tokens and turns.",
    "The one-model figure has no planner, no reviewer, no failed cheaper attempt and no redo: those are overhead of "
    "routing and are counted against the savings.",
    "The one-model figure assumes that model succeeds as often as the attempts that did the work.",
)


class Counterfactual(Value):
    """The same work, all on one tier."""

    tier: str
    model: str
    cost_usd: Decimal | None
    """None where the model's price is unknown."""
    saved_usd: Decimal | None = None
    """Positive: routing was cheaper. None where a price on either side is unknown."""
    saved_share: float | None = None
    """`saved_usd` as a share of this tier's cost, at most 1; None where that cost is zero or unknown."""


class Savings(Value):
    """Actual cost in USD, where it went, and what one model would have cost."""

    actual_usd: Decimal
    unpriced_requests: int = 0
    """Requests that `actual_usd` does not contain, because their price is unknown."""
    by_phase: dict[str, Decimal] = {}
    by_tier: dict[str, Decimal] = {}
    planning_usd: Decimal = Decimal(0)
    review_usd: Decimal = Decimal(0)
    redone_usd: Decimal = Decimal(0)
    """Attempts that were escalated away from, and rounds that were redone."""
    baselines: tuple[Counterfactual, ...] = ()
    """The baseline tier (Sonnet) first, then the strongest (Opus)."""
    assumptions: tuple[str, ...] = ASSUMPTIONS

    @property
    def overhead_usd(self) -> Decimal:
        """What was spent beside the attempts that did the work."""
        return self.planning_usd + self.review_usd + self.redone_usd

    def sentences(self) -> tuple[str, ...]:
        """One line a baseline, for people: what it would have cost, and whether routing saved or lost money."""
        return tuple(_sentence(self, other) for other in self.baselines)


def counterfactual(calls: Sequence[ModelCall], settings: Settings, superseded: Sequence[ModelCall] = ()) -> Savings:
    """What the calls cost, by phase and tier, and what all-Sonnet and all-Opus would have cost (an estimate).

    The baseline tier is `routing.baseline_tier`, the strong one the last of `tiers`; each is priced as the first model
    of its pool. `superseded` are the calls of rounds that were redone: they were paid, and one model is taken not to
    need them.
    """
    work, redone = _worked(calls)
    redone = [*redone, *superseded]
    calls = [*superseded, *calls]
    actual = total(tuple(calls))
    tiers = dict.fromkeys((settings.routing.baseline_tier, list(settings.tiers)[-1]))
    return Savings(
        actual_usd=actual.cost_usd,
        unpriced_requests=actual.unpriced_requests,
        by_phase=_by(calls, "phase"),
        by_tier=_by(calls, "tier"),
        planning_usd=_cost(call for call in calls if call.phase == "plan"),
        review_usd=_cost(call for call in calls if call.phase == "review"),
        redone_usd=_cost(redone),
        baselines=tuple(_against(tier, settings, work, actual) for tier in tiers),
    )


def run_savings(run: Run, settings: Settings) -> Savings:
    """`counterfactual` of all the run's calls."""
    worked = [call for result in run.results for call in result.calls]
    reviewed = [call for review in run.reviews for call in review.calls]
    superseded = [call for result in run.superseded for call in result.calls]
    return counterfactual([*run.other_calls, *worked, *reviewed], settings, superseded)


def _against(tier: str, settings: Settings, work: Sequence[ModelCall], actual: Usage) -> Counterfactual:
    model = settings.pool(tier).models[0]
    prices = [cost_of(model, call.usage, own=settings.prices) for call in work]
    cost = None if any(price is None for price in prices) else sum((price for price in prices if price), Decimal(0))
    if cost is None or actual.unpriced_requests:
        return Counterfactual(tier=tier, model=model, cost_usd=cost)
    saved = cost - actual.cost_usd
    return Counterfactual(
        tier=tier, model=model, cost_usd=cost, saved_usd=saved, saved_share=float(saved / cost) if cost else None
    )


def _worked(calls: Sequence[ModelCall]) -> tuple[list[ModelCall], list[ModelCall]]:
    """Execute calls split into those of each task's last round at its last tier, and those redone."""
    tasks: dict[str | None, list[ModelCall]] = defaultdict(list)
    redone: list[ModelCall] = []
    for call in calls:
        if call.phase in ("plan", "review"):
            continue
        kept = tasks[call.task_id]
        if kept and (call.attempt < kept[-1].attempt or call.tier != kept[-1].tier):
            redone.extend(kept)
            kept.clear()
        kept.append(call)
    return [call for kept in tasks.values() for call in kept], redone


def _by(calls: Sequence[ModelCall], field: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for call in calls:
        sums[getattr(call, field)] += call.usage.cost_usd
    return dict(sums)


def _cost(calls: Iterable[ModelCall]) -> Decimal:
    return sum((call.usage.cost_usd for call in calls), Decimal(0))


def _sentence(savings: Savings, other: Counterfactual) -> str:
    if other.cost_usd is None:
        return f"all {other.tier}: unknown, {other.model} has no known price"
    told = f"all {other.tier}: about ${other.cost_usd:.4f}"
    if other.saved_usd is None:
        return f"{told}; what was saved is unknown, {savings.unpriced_requests} requests have no known price"
    if other.saved_usd < 0:
        return f"{told}; routing LOST ${-other.saved_usd:.4f} on this run (overhead ${savings.overhead_usd:.4f})"
    share = f" ({other.saved_share:.0%})" if other.saved_share is not None else ""
    return f"{told}; routing saved ${other.saved_usd:.4f}{share}"
