"""The metrics of routing against their targets. Standard library only, so that `harness stats` starts fast."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

from harness.outcomes import Outcomes
from harness.records import DAY, Sum
from harness.report.intervals import mean_ratio, wilson
from harness.report.runsums import NOTHING, Money, Raw, RunSums

TARGETS = Path(__file__).with_name("targets.toml")
BUCKETS = 8
"""Points of a trend."""
Verdict = Literal["met", "missed", "unclear", "not enough data"]


@dataclass(frozen=True)
class Metric:
    """One figure with its 95 % interval, n, target and what the interval says of the target."""

    name: str
    label: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    target: str
    verdict: Verdict
    why: str
    note: str = ""
    trend: tuple[float | None, ...] = ()
    """The same figure over the period in equal parts, oldest first; None where there was nothing."""


@dataclass(frozen=True)
class Stats:
    """All that `harness stats` tells."""

    attempts: int
    runs: int
    landed: int
    first_day: int | None
    last_day: int | None
    scripted: bool
    """True: only runs of a scripted model are there, and no API was called for any of them."""
    scripted_left_out: int
    metrics: tuple[Metric, ...]
    money: Money
    cache_share: float | None
    tiers: tuple[tuple[str, int, int, float], ...]
    """(tier, tasks begun, solved, mean cost in dollars of a task's stay), cheap to strong."""


def collect(store: Outcomes, since: int = 0) -> Stats:
    """The figures of all outcomes at or after `since` (Unix seconds, counted in whole days).

    Work of a scripted model is left out, unless there is no other.
    """
    counted = {row[0]: row[1] for row in store.query("SELECT scripted, count(*) FROM runs GROUP BY scripted")}
    scripted = not counted.get(0) and bool(counted.get(1))
    first = since // DAY
    sums = [item for item in store.sums(("*",), scripted=scripted) if item.day >= first]
    rules = [item for item in store.sums(prefix="rule:", scripted=scripted) if item.day >= first]
    runs = RunSums(store, since, scripted)
    targets = load_targets()
    tiers = _tiers(sums)
    cheap = tiers[0] if tiers else "haiku"
    names = {"cheap": cheap.capitalize(), "baseline": (runs.baseline_tier or "sonnet").capitalize()}
    days = sorted({item.day for item in sums})
    figures: dict[str, Raw] = {
        "cheap_success": _cheap_success(sums, cheap),
        "quality": _quality(sums, cheap, runs.baseline_tier or "sonnet"),
        "savings": runs.savings(),
        "task_cost": runs.task_cost(),
        "cheap_share": _cheap_share(sums, cheap),
        "routing_accuracy": _accuracy(sums, rules),
    }
    trends = _trends(sums, rules, runs, cheap, days)
    metrics = tuple(
        _held(name, figures[name], target, targets["enough"], names, trends.get(name, ()))
        for name, target in targets.items() if isinstance(target, dict)
    )  # fmt: skip
    return Stats(
        attempts=sum(item.attempts for item in sums),
        runs=runs.count,
        landed=runs.landed,
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        scripted=scripted,
        scripted_left_out=0 if scripted else counted.get(1, 0),
        metrics=metrics,
        money=runs.money(),
        cache_share=runs.cache_share,
        tiers=tuple(_tier_row(sums, tier) for tier in tiers),
    )


def load_targets() -> dict[str, Any]:
    """The targets, in the order in which they are shown."""
    return tomllib.loads(TARGETS.read_text(encoding="utf-8"))


def _tiers(sums: Iterable[Sum]) -> list[str]:
    ranks = {item.tier: item.rank for item in sums}
    return sorted(ranks, key=lambda tier: (ranks[tier], tier))


def _tier_row(sums: Iterable[Sum], tier: str) -> tuple[str, int, int, float]:
    own = [item for item in sums if item.tier == tier]
    stays = sum(item.stays + item.late_stays for item in own)
    spent = sum(item.stay_nusd + item.late_nusd for item in own) * 1e-9
    return tier, stays, sum(item.solved + item.late_solved for item in own), spent / stays if stays else 0.0


def _cheap_success(sums: Iterable[Sum], cheap: str) -> Raw:
    own = [item for item in sums if item.tier == cheap]
    n, solved = sum(item.stays for item in own), sum(item.solved for item in own)
    if not n:
        return NOTHING
    first = sum(item.first_solved for item in own)
    return Raw(solved / n, *wilson(solved, n), n, f"{first} at the first attempt" if first else "")


def _cheap_share(sums: Iterable[Sum], cheap: str) -> Raw:
    n = own = 0
    for item in sums:
        n += item.starts
        own += item.starts if item.tier == cheap else 0
    return Raw(own / n, *wilson(own, n), n) if n else NOTHING


def _quality(sums: Iterable[Sum], cheap: str, baseline: str) -> Raw:
    def of(tier: str) -> tuple[int, float, float]:
        own = [item for item in sums if item.tier == tier]
        return (
            sum(item.rated for item in own),
            sum(item.quality for item in own),
            sum(item.quality_squared for item in own),
        )

    here, there = of(cheap), of(baseline)
    note = f"{here[0]} rated at {cheap}, {there[0]} at {baseline}"
    if not here[0] or not there[0]:
        return Raw(None, None, None, 0, note)
    return Raw(*mean_ratio(*here, *there), min(here[0], there[0]), note)


def _accuracy(sums: Iterable[Sum], rules: Sequence[Sum], bar: float = 0.85, enough: int = 20) -> Raw:
    """Under-routed: escalated. Over-routed: began above a tier that solves `bar` of the same rule's tasks."""
    begun: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for item in rules:
        row = begun[item.key, item.tier]
        row[0] += item.starts
        row[1] += item.escalates
        row[2] += item.stays
        row[3] += item.solved
        row[4] = item.rank
    n = wrong = unchecked = 0
    for (key, _), (starts, escalates, _, _, rank) in begun.items():
        n += starts
        wrong += escalates
        if not rank:
            continue
        lower = [row for (other, _), row in begun.items() if other == key and row[4] < rank and row[2] >= enough]
        if any(row[3] >= bar * row[2] for row in lower):
            wrong += starts - escalates
        elif not lower:
            unchecked += starts - escalates
    note = f"{unchecked} tasks not checked (under {enough} at a cheaper tier)" if unchecked else ""
    return Raw((n - wrong) / n, *wilson(n - wrong, n), n, note) if n else NOTHING


def _held(
    name: str,
    raw: Raw,
    target: Mapping[str, Any],
    enough: int,
    names: Mapping[str, str],
    trend: tuple[float | None, ...],
) -> Metric:
    low, high = bounds(target)
    return Metric(
        name=name,
        label=target["label"].format(**names),
        unit=target["unit"],
        value=raw.value,
        low=raw.low,
        high=raw.high,
        n=raw.n,
        target=_spelt(target),
        verdict=_verdict(raw, low, high, enough),
        why=target["why"],
        note=raw.note,
        trend=trend,
    )


def _verdict(raw: Raw, low: float, high: float, enough: int) -> Verdict:
    if raw.value is None or raw.low is None or raw.high is None or raw.n < enough:
        return "not enough data"
    if raw.low >= low and raw.high <= high:
        return "met"
    if raw.high < low or raw.low > high:
        return "missed"
    return "unclear"


def bounds(target: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the most that a target allows; infinite where it has no bound."""
    if "between" in target:
        return tuple(target["between"])
    return target.get("at_least", -inf), target.get("below", inf)


def _spelt(target: Mapping[str, Any]) -> str:
    if "between" in target:
        return "–".join(f"{bound:.0%}".removesuffix("%") for bound in target["between"]) + " %"
    if "below" in target:
        return f"< ${target['below']:.2f}"
    return f"≥ {target['at_least'] * 100:.0f} %"


def _trends(
    sums: Sequence[Sum], rules: Sequence[Sum], runs: RunSums, cheap: str, days: Sequence[int]
) -> dict[str, tuple[float | None, ...]]:
    """Each metric over the period in equal parts; empty for a period of one day."""
    if not days or days[-1] == days[0]:
        return {}
    width = (days[-1] - days[0] + 1) / BUCKETS

    def bucket(day: int) -> int:
        return min(BUCKETS - 1, int((day - days[0]) / width))

    sum_parts: list[list[Sum]] = [[] for _ in range(BUCKETS)]
    rule_parts: list[list[Sum]] = [[] for _ in range(BUCKETS)]
    day_parts: list[list[int]] = [[] for _ in range(BUCKETS)]
    for item in sums:
        sum_parts[bucket(item.day)].append(item)
    for item in rules:
        rule_parts[bucket(item.day)].append(item)
    for day in runs.days:
        day_parts[bucket(max(days[0], day))].append(day)
    figures: dict[str, Callable[[int], Raw]] = {
        "cheap_success": lambda part: _cheap_success(sum_parts[part], cheap),
        "quality": lambda part: _quality(sum_parts[part], cheap, runs.baseline_tier or "sonnet"),
        "savings": lambda part: runs.savings(day_parts[part]),
        "task_cost": lambda part: runs.task_cost(day_parts[part]),
        "cheap_share": lambda part: _cheap_share(sum_parts[part], cheap),
        "routing_accuracy": lambda part: _accuracy(sum_parts[part], rule_parts[part]),
    }
    return {name: tuple(figure(part).value for part in range(BUCKETS)) for name, figure in figures.items()}
