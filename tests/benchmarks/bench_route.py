"""What `harness route` costs from a cold start: `python -m tests.benchmarks.bench_route`.

The baseline is `python -c pass` of the same environment, measured in turns with the rest. Processor time stands beside
wall time, because a busy machine stretches only the latter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 20
ROWS = {
    "python -c pass": ["-c", "pass"],
    "import pydantic's BaseModel": ["-c", "from pydantic import BaseModel"],
    "import harness.types": ["-c", "import harness.types"],
    "import harness.config.settings": ["-c", "import harness.config.settings"],
    "import harness.routing.router": ["-c", "import harness.routing.router"],
    "harness route --json": ["-m", "harness", "route", "--title", "Fix typo in README", "--json"],
    "(not imported) genai_prices": ["-c", "import genai_prices"],
    "(not imported) networkx": ["-c", "import networkx"],
}


def once(argv: list[str], folder: str) -> tuple[float, float]:
    """Wall and processor milliseconds of one process."""
    before, began = os.times(), time.perf_counter()
    subprocess.check_call([sys.executable, *argv], cwd=folder, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1000, used * 1000


def main() -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, argv in ROWS.items():
                times[name].append(once(argv, folder))
    wall = {name: statistics.median(one for one, _ in found) for name, found in times.items()}
    used = {name: statistics.fmean(two for _, two in found) for name, found in times.items()}
    base, base_used = wall["python -c pass"], used["python -c pass"]
    print(f"{'':<32} {'wall ms':>8} {'ratio':>6} {'cpu ms':>8} {'ratio':>6}")
    for name in ROWS:
        ratios = wall[name] / base, used[name] / base_used
        print(f"{name:<32} {wall[name]:>8.1f} {ratios[0]:>6.1f} {used[name]:>8.1f} {ratios[1]:>6.1f}")


if __name__ == "__main__":
    main()
