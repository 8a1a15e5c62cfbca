"""A real queue loaded and routed in one process: `python -m tests.benchmarks.bench_queue_routing [FILE]`.

The baseline is reading the file with `json` alone. Each row runs in a process of its own, so that memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from harness.cli.route import read_issues
from harness.config.settings import Settings
from harness.routing.router import build_router

QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"
ROWS = ("json", "load", "route")


def row(kind: str, path: Path) -> None:
    """Do one row's work and print its figures as JSON."""
    tiers: Counter[str] = Counter()
    began = time.perf_counter()
    with path.open(encoding="utf-8") as lines:
        if kind == "json":
            kept: list[object] = [json.loads(line) for line in lines]
        else:
            router = build_router(Settings(root=path.parent))
            issues = list(read_issues(lines))
            kept = list(issues)
            if kind == "route":
                decisions = [router.route(issue) for issue in issues]
                tiers.update(f"{decision.strategy} → {decision.tier}" for decision in decisions)
                kept = list(decisions)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"n": len(kept), "seconds": seconds, "mb": memory, "tiers": tiers}))


def main(path: Path) -> None:
    found = {}
    for kind in ROWS:
        argv = [sys.executable, "-m", "tests.benchmarks.bench_queue_routing", str(path), kind]
        found[kind] = json.loads(subprocess.check_output(argv))
    base = found["json"]
    names = {"json": "json alone", "load": "… as issues", "route": "… and routed"}
    print(f"{'':<14} {'issues':>7} {'ms':>8} {'issues/s':>9} {'ratio':>6} {'peak MB':>8}")
    for kind, one in found.items():
        each, ratio = one["n"] / one["seconds"], one["seconds"] / base["seconds"]
        print(
            f"{names[kind]:<14} {one['n']:>7} {one['seconds'] * 1000:>8.0f} {each:>9.0f} {ratio:>6.1f} "
            f"{one['mb']:>8.0f}"
        )
    print()
    for name, count in Counter(found["route"]["tiers"]).most_common():
        print(f"  {count:>6}  {name}")


if __name__ == "__main__":
    given = sys.argv[1:]
    if len(given) == 2:
        row(given[1], Path(given[0]))
    else:
        main(Path(given[0]) if given else QUEUE)
