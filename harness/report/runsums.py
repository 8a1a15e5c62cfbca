"""Runs as daily sums: what ratios over runs, with their intervals, are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from harness.outcomes import Outcomes
from harness.records import DAY
from harness.report.intervals import ratio


@dataclass(frozen=True)
class Raw:
    """One figure before it is held against its target."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""


NOTHING = Raw(None, None, None, 0)


@dataclass(frozen=True)
class Money:
    """Sums over runs, in dollars."""

    runs: int
    actual: float
    planning: float
    review: float
    redone: float
    baseline_tier: str
    baseline: float | None
    strong_tier: str
    strong: float | None
    comparable_runs: int
    """Runs whose every price is known: the only ones compared."""
    comparable_actual: float
    losing_runs: int
    """Runs that cost more than all on the baseline tier would have."""
    explored: float
    unpriced_requests: int


class RunSums:
    """Daily sums over runs: what ratios with intervals need."""

    def __init__(self, store: Outcomes, since: int, scripted: bool) -> None:
        known = "unpriced = 0 AND baseline_nusd IS NOT NULL"
        rows = store.query(
            f"""SELECT at / {DAY} AS day, count(*), sum(landed), sum(cost_nusd) * 1e-9, sum(planning_nusd) * 1e-9,
            sum(review_nusd) * 1e-9, sum(redone_nusd) * 1e-9, sum(tasks), sum(unpriced), sum(explored_nusd) * 1e-9,
            sum(total_input), sum(cache_read),
            sum({known}), total(iif({known}, cost_nusd, 0)) * 1e-9, total(iif({known}, baseline_nusd, 0)) * 1e-9,
            total(iif({known}, 1.0 * cost_nusd * cost_nusd, 0)) * 1e-18,
            total(iif({known}, 1.0 * baseline_nusd * baseline_nusd, 0)) * 1e-18,
            total(iif({known}, 1.0 * cost_nusd * baseline_nusd, 0)) * 1e-18,
            total(iif({known}, strong_nusd, 0)) * 1e-9, sum({known} AND cost_nusd > baseline_nusd),
            total(1.0 * cost_nusd * cost_nusd) * 1e-18, total(1.0 * tasks * tasks),
            total(1.0 * cost_nusd * tasks) * 1e-9
            FROM runs WHERE at >= ? AND scripted = ? AND experiment = 0 GROUP BY day""",
            since,
            int(scripted),
        )
        self.days = {row[0]: tuple(row)[1:] for row in rows}
        self.sums = _added(self.days.values())
        tiers = store.query("SELECT baseline_tier, strong_tier FROM runs ORDER BY at DESC LIMIT 1")
        self.baseline_tier, self.strong_tier = tuple(tiers[0]) if tiers else ("", "")

    @property
    def count(self) -> int:
        return int(self.sums[0])

    @property
    def landed(self) -> int:
        return int(self.sums[1])

    @property
    def cache_share(self) -> float | None:
        return self.sums[10] / self.sums[9] if self.sums[9] else None

    def savings(self, days: Iterable[int] | None = None) -> Raw:
        s = self._of(days)
        n, cost, base = int(s[11]), s[12], s[13]
        if not n or not base:
            return NOTHING
        value, low, high = ratio(n, cost, base, s[14], s[15], s[16])
        left_out = int(s[0]) - n
        note = f"{left_out} runs with unknown prices left out" if left_out else ""
        return _bounded(1 - value, 1 - high, 1 - low, n, note)

    def task_cost(self, days: Iterable[int] | None = None) -> Raw:
        s = self._of(days)
        n, cost, tasks = int(s[0]), s[2], s[6]
        if not tasks:
            return NOTHING
        value, low, high = ratio(n, cost, tasks, s[19], s[20], s[21])
        note = f"{int(s[7])} requests of unknown price left out" if s[7] else ""
        return _bounded(value, max(0.0, low), high, int(tasks), note)

    def money(self) -> Money:
        s = self.sums
        compared = bool(s[11])
        return Money(
            runs=int(s[0]), actual=s[2], planning=s[3], review=s[4], redone=s[5],
            baseline_tier=self.baseline_tier, baseline=s[13] if compared else None,
            strong_tier=self.strong_tier, strong=s[17] if compared else None,
            comparable_runs=int(s[11]), comparable_actual=s[12], losing_runs=int(s[18]), explored=s[8],
            unpriced_requests=int(s[7]),
        )  # fmt: skip

    def _of(self, days: Iterable[int] | None) -> tuple[float, ...]:
        return self.sums if days is None else _added(self.days[day] for day in days if day in self.days)


def _bounded(value: float, low: float, high: float, n: int, note: str) -> Raw:
    """One run alone has no interval, and infinity is no JSON."""
    return Raw(value, low, high, n, note) if isfinite(low) and isfinite(high) else Raw(value, None, None, n, note)


def _added(rows: Iterable[Sequence[float]]) -> tuple[float, ...]:
    sums = [0.0] * 22
    for row in rows:
        for index, value in enumerate(row):
            sums[index] += value or 0
    return tuple(sums)
