"""Offline evaluation of routing on a table of weak/strong outcomes; without a file, on a synthetic one.

    python -m tests.benchmarks.evaluate_routing [TABLE.csv|TABLE.jsonl]

The same as `harness experiments evaluate FILE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.cli.evaluation import told
from harness.report.evaluate import evaluate
from harness.report.tables import Row, read_rows
from tests.benchmarks.synthetic import make_log

if __name__ == "__main__":
    if len(sys.argv) > 1:
        rows = read_rows(Path(sys.argv[1]))
    else:
        print("synthetic log, seed 1 (see synthetic.py)\n")
        rows = [Row(f"query {n}", q.weak, q.strong, pattern=str(q.pattern), parent=str(q.parent))
                for n, q in enumerate(make_log(1))]  # fmt: skip
    print("\n".join(told(evaluate(rows))))
