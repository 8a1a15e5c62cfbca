"""What an issue will cost, before anything is asked of a model: typical token sizes at the tiers' present prices.

The sizes are priors until there are outcomes to replace them: a worker session of a few turns on a cached prompt of
some thousand tokens, one planner call, one review call. They give Sonnet about three cents for a small edit, which is
what such an edit is reported to cost. They are for choosing and for showing, never for accounting.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from harness.config.settings import Settings
from harness.pricing import cost_of
from harness.types import Usage, Value

ENOUGH = 10
"""Outcomes from which the observed mean replaces a prior."""


class Sizes(Value):
    """Tokens of one planner call, one task, one small task (one file, no planner) and one review."""

    plan: Usage = Usage(requests=1, input_tokens=2_000, cache_write_5m_tokens=6_000, output_tokens=1_500)
    task: Usage = Usage(
        requests=10, input_tokens=1_000, cache_write_5m_tokens=12_000, cache_read_tokens=80_000, output_tokens=3_000
    )
    small: Usage = Usage(
        requests=6, input_tokens=600, cache_write_5m_tokens=5_000, cache_read_tokens=20_000, output_tokens=1_200
    )
    review: Usage = Usage(requests=1, input_tokens=10_000, output_tokens=1_200)
    observed: int = 0
    """Outcomes behind `task` and `small`; 0 means that they are priors."""

    def learned(self, tasks: int, total: Usage) -> Sizes:
        """Sizes with the mean of `tasks` tasks that used `total` together, once they are enough."""
        if tasks < ENOUGH:
            return self
        counts = total.model_dump(exclude={"cost_usd", "unpriced_requests"})
        mean = Usage(**{name: round(value / tasks) for name, value in counts.items()})
        return self.model_copy(update={"task": mean, "small": mean, "observed": tasks})


class Shape(NamedTuple):
    """The work an issue is expected to become."""

    tasks: int = 1
    small: bool = False
    worker: str = "haiku"
    planner: str | None = None
    """Its tier; None: nobody plans."""
    reviewer: str | None = None
    """Its tier; None: no review is expected."""


class Estimate(NamedTuple):
    """USD; None where a price is unknown. `unknown` names the models without a price."""

    cost: Decimal | None
    baseline: Decimal | None
    unknown: tuple[str, ...] = ()


def estimate(shape: Shape, settings: Settings, sizes: Sizes) -> Estimate:
    """What the work costs as routed, and its tasks alone, without planner and review, on the baseline tier."""

    def price_of(tier: str, usage: Usage) -> Decimal | None:
        return cost_of(settings.pool(tier).models[0], usage, own=settings.prices)

    work, baseline = sizes.small if shape.small else sizes.task, settings.routing.baseline_tier
    parts = [(shape.worker, work)] * shape.tasks
    parts += [(shape.planner, sizes.plan)] if shape.planner else []
    parts += [(shape.reviewer, sizes.review)] if shape.reviewer else []
    costs = [price_of(tier, usage) for tier, usage in parts]
    alone = price_of(baseline, work)
    unknown = {settings.pool(tier).models[0] for (tier, _), cost in zip(parts, costs, strict=True) if cost is None}
    return Estimate(
        cost=None if unknown else sum((cost for cost in costs if cost is not None), Decimal(0)),
        baseline=None if alone is None else alone * shape.tasks,
        unknown=tuple(sorted(unknown)),
    )
