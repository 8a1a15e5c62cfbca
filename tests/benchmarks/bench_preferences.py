"""The embedded classifier on CLINC150 (150 routes, each described): right, kept and out of scope, beside keywords.

python -m tests.benchmarks.bench_preferences [every]     # every n-th request; 10 by default
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from harness.config.settings import RoutePreference
from harness.routing.preferences import THRESHOLD, Classifier, KeywordClassifier
from harness.routing.semantic import SemanticClassifier

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def main(every: int) -> None:
    described = yaml.safe_load((HERE / "clinc150_routes.yaml").read_text(encoding="utf-8"))
    routes = [RoutePreference(name=name, description=text) for name, text in described.items()]
    inside, outside = rows("clinc150_test.jsonl")[::every], rows("clinc150_oos_test.jsonl")[::every]
    print(f"{len(routes)} described routes, {len(inside)} requests inside, {len(outside)} outside")
    print(f"{'classifier':12}{'nearest right':>18}{'kept, right':>16}{'outside refused':>17}{'ms':>8}{'ratio':>8}")
    baseline = 0.0
    made: list[Classifier] = [KeywordClassifier(routes), SemanticClassifier(routes)]
    for classifier in made:
        started = time.perf_counter()
        right = kept = 0
        for row in inside:
            scores = classifier.scores(row["text"])
            best = max(range(len(routes)), key=scores.share.__getitem__)
            if routes[best].name == row["label"]:
                right += 1
                kept += scores.fit[best] >= THRESHOLD
        refused = sum(max(classifier.scores(row["text"]).fit) < THRESHOLD for row in outside)
        each = (time.perf_counter() - started) / (len(inside) + len(outside)) * 1000
        share = right / len(inside)
        baseline = baseline or share
        figures = f"{share:>18.3f}{kept / len(inside):>16.3f}{refused / len(outside):>17.3f}{each:>8.2f}"
        print(f"{classifier.name:12}{figures}{share / baseline:>7.2f}x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
