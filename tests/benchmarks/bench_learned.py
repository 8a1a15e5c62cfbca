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

from harness.config.settings import Settings
from harness.outcomes import Outcomes
from harness.report.evaluate import TIERS, Policy, deployed, learner, replay
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


def simulate(logs: int) -> None:
    policies: dict[str, Policy] = {"ε-greedy": greedy, "Thompson by pattern": thompson, "ours": learner(PRICE),
                                   "ours, as deployed": deployed(PRICE)}  # fmt: skip
    results: dict[str, list[float]] = {name: [] for name in policies}
    known: dict[str, list[float]] = {}
    for seed in range(logs):
        queries = make_log(seed)
        for name, value in margins(queries).items():
            known.setdefault(name, []).append(value)
        rows = [Row("", q.weak, q.strong, pattern=str(q.pattern), parent=str(q.parent)) for q in queries]
        for name, policy in policies.items():
            results[name].append(replay(rows, policy, PRICE, seed))
    low, high = statistics.mean(known["always strong"]), statistics.mean(known["oracle by pattern"])
    print(f"{logs} synthetic logs of 14,037 queries, 57 patterns, price of the strong tier {PRICE}\n")
    print(f"{'policy':<22} {'net value':>9} {'±':>6} {'headroom':>9} {'published':>10}")
    for name, values in (known | results).items():
        mean = statistics.mean(values)
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"{name:<22} {mean:9.4f} {error:6.4f} {(mean - low) / (high - low):9.0%} {published:>10}")
    lead = [ours - other for ours, other in zip(results["ours"], results["Thompson by pattern"], strict=True)]
    error = statistics.stdev(lead) / len(lead) ** 0.5 if len(lead) > 1 else float("nan")
    ahead = sum(one > 0 for one in lead)
    print(f"\nours − Thompson, paired: {statistics.mean(lead):+.4f} ± {error:.4f}, ahead on {ahead} of {logs}")
    print("headroom: 0 % is always strong, 100 % the better tier of each pattern.")


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
    simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
    latency(100_000)
