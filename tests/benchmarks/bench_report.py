"""The report of a 200-task run, and of a period of 2,000 runs: time and size, against writing the run as JSON.

python -m tests.benchmarks.bench_report
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness.config.settings import Settings
from harness.outcomes import Outcomes
from harness.report.html import run_report
from harness.report.period import period_report
from harness.report.savings import run_savings
from tests.fakes.outcomes import make_history
from tests.fakes.runs import make_events, make_run

ROUNDS = 7


def measured(name: str, make: Callable[[], str], base: float | None) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        text = make()
        times.append(time.perf_counter() - began)
    taken = statistics.median(times)
    ratio = f"{taken / base:6.1f}x" if base else f"{1:6.1f}x"
    print(f"{name:<38} {taken * 1e3:8.1f} ms {ratio} {len(text.encode()) / 1e6:8.2f} MB")
    return taken


def main() -> None:
    run = make_run(seed=8, tasks=200, workers=8)
    events = make_events(run)
    settings = Settings()
    change = "\n".join(f"+line {line} of it, with some text to make it as long as code is" for line in range(120))
    diff = "".join(f"diff --git a/f{n}.py b/f{n}.py\n+++ b/f{n}.py\n@@ -0,0 +1,120 @@\n{change}\n" for n in range(100))
    print(f"{'what':<38} {'median':>11} {'ratio':>7} {'size':>11}")
    base = measured("a run of 200 tasks as JSON", run.model_dump_json, None)
    measured("its report", lambda: run_report(run, events, "", run_savings(run, settings)), base)
    measured("its report, 100 files changed", lambda: run_report(run, events, diff, run_savings(run, settings)), base)
    with tempfile.TemporaryDirectory() as folder, Outcomes(Path(folder)) as store:
        for outcome, rows in make_history(6_500):
            store.put(outcome, rows)
        measured("a period of about 2,000 runs", lambda: period_report(store), base)


if __name__ == "__main__":
    main()
