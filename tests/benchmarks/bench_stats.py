"""`harness stats` over 100,000 records against `python -c pass`: the claim is under 20 times.

python tests/benchmarks/bench_stats.py [ATTEMPTS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from harness import proc
from harness.outcomes import Outcomes
from tests.fakes.outcomes import make_history

ROUNDS = 11


async def _median(argv: Sequence[str]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = await proc.run(argv)
        times.append(time.perf_counter() - began)
        if not done.ok:
            raise SystemExit(done.output)
    return statistics.median(times)


async def main(attempts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".git").mkdir()
        with Outcomes(Path(folder) / ".harness") as store:
            began = time.perf_counter()
            count = 0
            for run, rows in make_history(attempts):
                store.put(run, rows)
                count += len(rows)
            each = (time.perf_counter() - began) / count
            print(f"stored {count:,} attempts one run at a time: {each * 1e6:.0f} µs each")
        base = await _median([sys.executable, "-c", "pass"])
        print(f"{'command':<34} {'median':>9} {'ratio':>7}")
        print(f"{'python -c pass':<34} {base * 1e3:7.0f}ms {1:6.1f}x")
        for name, options in {
            "harness stats": [],
            "harness stats --json": ["--json"],
            "harness stats --since": ["--since", "2026-10-01"],
        }.items():
            taken = await _median([sys.executable, "-m", "harness", "stats", "-C", folder, *options])
            print(f"{name:<34} {taken * 1e3:7.0f}ms {taken / base:6.1f}x")
        shown = await proc.run([sys.executable, "-m", "harness", "stats", "-C", folder])
        print(f"\n{shown.stdout}")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
