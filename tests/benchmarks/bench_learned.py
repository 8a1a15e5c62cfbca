"""Learned routing: what it earns on a synthetic log against its rivals, and how long a decision takes.

    python -m tests.benchmarks.bench_learned [LOGS]

The log is synthetic: see synthetic.py. Its margins are those of a published log of 14,037 weak/strong outcomes over 57
patterns, whose rows we do not have; on that log the published figures are ε-greedy 0.711, Thompson by pattern 0.716.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.settings import Settings
from harness.outcomes import Outcomes
from harness.report.evaluate import TIERS, Policy, learner, replay
from harness.report.tables import Row
from harness.routing.evidence import Tally
from harness.routing.learned import LearnedStrategy
from harness.types import Issue
from tests.benchmarks.synthetic import PRICE, make_log, margins
from tests.fakes.outcomes import WORDS, make_history

PUBLISHED = {"always weak": 0.681, "always strong": 0.706, "ε-greedy": 0.711, "Thompson by pattern": 0.716,
             "oracle by pattern": 0.729, "oracle by query": 0.841}  # fmt: skip


def thompson(row: Row, tallies: Mapping[tuple[str, str], Tally], random_: random.Random) -> bool:
    """Beta-Bernoulli by pattern, each from a flat prior."""
    drawn = []
    for tier in TIERS:
        seen = tallies.get((row.keys()[-1], tier), Tally())
        drawn.append(random_.betavariate(1 + seen.solved, 1 + seen.stays - seen.solved))
    return drawn[1] - PRICE > drawn[0]


def greedy(row: Row, tallies: Mapping[tuple[str, str], Tally], random_: random.Random) -> bool:
    """The better mean by pattern, and one time in ten a coin."""
    if random_.random() < 0.1:
        return random_.random() < 0.5
    seen = [tallies.get((row.keys()[-1], tier), Tally()) for tier in TIERS]
    weak, strong = ((one.solved + 1) / (one.stays + 2) for one in seen)
    return strong - PRICE > weak


KINDS: Mapping[str, tuple[dict[str, Any], float | None]] = {
    "as published: 57 patterns": ({}, None),
    "20 patterns": ({"patterns": 20}, None),
    "200 patterns": ({"patterns": 200}, None),
    "patterns of like size": ({"skew": 5.0}, None),
    "3,000 queries": ({"queries": 3_000}, None),
    "half change half way": ({"drift": 0.5}, None),
    "the same, old rows fading": ({"drift": 0.5}, 5_000),
    "no change, old rows fading": ({}, 5_000),
}
"""Kind of log → its changes, and the half-life of a row in rows."""
OURS = "learned, as deployed"


def simulate(logs: int) -> None:
    print(f"{logs} synthetic logs of each kind, price of the strong tier {PRICE}\n")
    known, results = _walked(logs, {}, None)
    low, high = statistics.mean(known["always strong"]), statistics.mean(known["oracle by pattern"])
    print(f"{'policy':<22} {'net value':>9} {'95 %':>8} {'headroom':>9} {'published':>10}")
    for name, values in (known | results).items():
        mean, reach = _interval(values)
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"{name:<22} {mean:9.4f} ±{reach:7.4f} {(mean - low) / (high - low):9.0%} {published:>10}")
    print("\nheadroom: 0 % is always strong, 100 % the better tier of each pattern.\n")
    print(f"{'kind of log':<28} {'Thompson':>8} {'deployed':>8} {'lead, paired, 95 %':>20} {'ahead':>8}")
    for kind, (changes, half_life) in KINDS.items():
        if changes or half_life:
            known, results = _walked(logs, changes, half_life)
        pairs = list(zip(results[OURS], results["Thompson by pattern"], strict=True))
        lead, reach = _interval([ours - other for ours, other in pairs])
        ahead = f"{sum(ours > other for ours, other in pairs)} of {logs}"
        other, ours = (statistics.mean(results[name]) for name in ("Thompson by pattern", OURS))
        print(f"{kind:<28} {other:8.4f} {ours:8.4f} {lead:+11.4f} ±{reach:.4f} {ahead:>9}", flush=True)


def _walked(
    logs: int, changes: Mapping[str, Any], half_life: float | None
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """What is known of the logs, and what each policy makes of them."""
    policies: dict[str, Policy] = {"Thompson by pattern": thompson, OURS: learner(PRICE)}
    if not changes and not half_life:
        policies = {"ε-greedy": greedy, **policies, "the same, no exploring": learner(PRICE, exploring=False)}
    results: dict[str, list[float]] = {name: [] for name in policies}
    known: dict[str, list[float]] = {}
    for seed in range(logs):
        queries = make_log(seed, **changes)
        for name, value in margins(queries).items():
            known.setdefault(name, []).append(value)
        rows = [Row("", q.weak, q.strong, pattern=str(q.pattern), parent=str(q.parent)) for q in queries]
        for name, policy in policies.items():
            results[name].append(replay(rows, policy, PRICE, seed, half_life))
    return known, results


def _interval(values: list[float]) -> tuple[float, float]:
    """Mean and the reach of its 95 % interval (normal; of 20 logs and more)."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.mean(values), 1.96 * error


def latency(attempts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Outcomes(Path(folder)) as store:
            for run, rows in make_history(attempts):
                store.put(run, rows)
        strategy = LearnedStrategy(Path(folder), Settings())
        issues = [
            Issue(id=f"i{n}", title=f"{WORDS[n % len(WORDS)]} the thing {n}", type=("bug", "task")[n % 2])
            for n in range(400)
        ]
        began = time.perf_counter()
        strategy.consider(issues[0])
        first = time.perf_counter() - began
        base = statistics.median(_timed(lambda issue: None, issues))
        times = sorted(_timed(strategy.consider, issues))
        print(f"\n{attempts:,} outcomes: first decision {first * 1e3:.1f} ms, then p50 {times[200] * 1e3:.3f} ms, "
              f"p99 {times[396] * 1e3:.3f} ms ({times[200] / base:.0f}x a call that does nothing)")  # fmt: skip


def _timed(call: object, issues: list[Issue]) -> list[float]:
    taken = []
    for issue in issues:
        began = time.perf_counter()
        call(issue)  # type: ignore[operator]
        taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    latency(100_000)
