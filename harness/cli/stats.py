"""`harness stats`: the metrics against their targets, savings, trend, and what routing has learned.

It imports nothing heavy: with 100,000 records it answers in a fraction of the time that pydantic takes to import.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from harness.cli.options import common_options, repository_root, since
from harness.outcomes import Outcomes
from harness.records import DAY
from harness.report.metrics import Metric, Stats, collect
from harness.report.runsums import Money

EXAMPLES = """examples:
  harness stats
  harness stats --since 30d --json
  harness stats --what-learned        what past outcomes say, key by key
"""
_MARKS = {"met": "✓", "missed": "✗", "unclear": "~", "not enough data": "·"}
_WORDS = {"not enough data": "too few"}
"""A line of a metric has to fit into 80 columns."""
_BARS = "▁▂▃▄▅▆▇█"


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument(
        "--since", type=since, default=0, metavar="PERIOD", help="30d, 12h, 4w or a date (default: everything)"
    )
    parser.add_argument(
        "--what-learned", action="store_true", help="what routing has learned from outcomes, key by key"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.what_learned:
        # Beliefs need the settings' tiers, and settings need pydantic: only who asks pays for the import.
        return int(importlib.import_module("harness.cli.learned").run(arguments))
    with Outcomes(repository_root(arguments.repo) / ".harness", create=False) as store:
        stats = collect(store, arguments.since)
    if arguments.json:
        print(json.dumps(asdict(stats), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        lines = "\n".join(_told(stats)).split("\n")
        if sys.stdout.isatty():
            # Rich takes longer to import than all the rest: only who can see colours pays for it.
            importlib.import_module("harness.cli.pictures").paint(lines)
        else:
            print("\n".join(lines))
    return 0


def _told(stats: Stats) -> Iterator[str]:
    if not stats.runs and not stats.attempts:
        yield "No outcomes yet: they are recorded when a run ends. Try: harness run ISSUE, or harness demo"
        return
    yield _head(stats)
    if stats.scripted:
        yield "A scripted model answered: no API was called,"
        yield "and these figures say nothing of real models."
    yield ""
    width = max(len(metric.label) for metric in stats.metrics)
    yield f"  {'':<{width}} {'now':>7}  {'95 % interval':<15} {'target':<7} {'verdict':<7} {'n':>5}"
    for metric in stats.metrics:
        yield _line(metric, width)
    yield from _trends(stats, width)
    notes = [f"  {metric.label}: {metric.note}" for metric in stats.metrics if metric.note]
    if notes:
        yield ""
        yield from notes
    yield ""
    yield from _tiers(stats)
    yield ""
    yield from _money(stats.money, stats.cache_share)
    if stats.scripted_left_out:
        yield f"\n{stats.scripted_left_out} runs of a scripted model are left out."


def _head(stats: Stats) -> str:
    period = ""
    if stats.first_day is not None and stats.last_day is not None:
        first, last = (datetime.fromtimestamp(day * DAY, UTC).date() for day in (stats.first_day, stats.last_day))
        period = f" · {first}" + (f" to {last}" if last != first else "")
    return f"{stats.runs} runs, {stats.landed} landed · {stats.attempts} attempts{period}"


def _line(metric: Metric, width: int) -> str:
    value = "–" if metric.value is None else _figure(metric.value, metric.unit)
    return (
        f"{_MARKS[metric.verdict]} {metric.label:<{width}} {value:>7}  {_between(metric):<15} {metric.target:<7} "
        f"{_WORDS.get(metric.verdict, metric.verdict):<7} {_count(metric.n):>5}"
    )


def _between(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return ""
    if metric.unit == "usd":
        return f"${metric.low:.4f}–{metric.high:.4f}"
    return f"{metric.low * 100:.1f} to {metric.high * 100:.1f} %"


def _count(n: int) -> str:
    return f"{n:,}" if n < 10_000 else f"{n // 1_000}k"


def _trends(stats: Stats, width: int) -> Iterator[str]:
    """Each metric over the period as bars, with its first and last value."""
    lines = []
    for metric in stats.metrics:
        known = [value for value in metric.trend if value is not None]
        if len(known) > 1:
            first, last = (_figure(value, metric.unit) for value in (known[0], known[-1]))
            lines.append(f"  {metric.label:<{width}}  {sparkline(metric.trend)}  {first} → {last}")
    if lines:
        yield ""
        yield f"Trend, the period in {len(stats.metrics[0].trend)} parts; bars from each metric's lowest to its highest"
        yield from lines


def _figure(value: float, unit: str) -> str:
    return f"${value:.4f}" if unit == "usd" else f"{value * 100:.1f} %"


def sparkline(values: tuple[float | None, ...]) -> str:
    """A trend as bars, lowest to highest value; a space where there was nothing."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    return "".join(" " if value is None else _BARS[round((value - low) * scale) if scale else 3] for value in values)


def _tiers(stats: Stats) -> Iterator[str]:
    for tier, begun, solved, cost in stats.tiers:
        share = f"{solved / begun:.0%}" if begun else "–"
        yield f"  {tier:<10} {begun:>7,} tasks worked, {share:>4} solved there, ${cost:.4f} a task"


def _money(money: Money, cache_share: float | None) -> Iterator[str]:
    parts = [f"planning ${money.planning:.2f}", f"review ${money.review:.2f}", f"redone ${money.redone:.2f}"]
    if money.explored:
        parts.append(f"lost to exploring ${money.explored:.2f}")
    yield f"  Spent ${money.actual:.2f} ({', '.join(parts)})"
    if money.unpriced_requests:
        yield f"  {money.unpriced_requests:,} requests have no known price and are not in it"
    for tier, cost in dict(((money.baseline_tier, money.baseline), (money.strong_tier, money.strong))).items():
        if cost:
            saved = cost - money.comparable_actual
            told = f"saved ${saved:.2f} ({saved / cost:.0%})" if saved >= 0 else f"routing LOST ${-saved:.2f}"
            yield f"  The same work all {tier}: about ${cost:.2f}, {told}"
    if money.losing_runs:
        runs = f"{money.losing_runs} of {money.comparable_runs} runs"
        yield f"  {runs} cost more than all {money.baseline_tier} would have"
    if cache_share is not None:
        yield f"  {cache_share:.0%} of input tokens came from a cache"
    if money.baseline:
        yield "  (an estimate: the same tokens at that model's prices, without planner,"
        yield "  reviewer and failed attempts)"
