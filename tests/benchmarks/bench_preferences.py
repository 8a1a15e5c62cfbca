"""How well, and how fast, described routes are told apart: the embedded classifier beside keywords, in one run.

python -m tests.benchmarks.bench_preferences           # everything; three minutes
python -m tests.benchmarks.bench_preferences 10        # every tenth request of CLINC150
python -m tests.benchmarks.bench_preferences speed     # times alone

CLINC150 (oos-eval, CC-BY-3.0): 150 intents, 4,500 requests of them, which the classifier was not tuned on, and 1,000
of none, half of which were looked at when the weight of foreign requests and the threshold were set.
`route_configurations.yaml`: routes as users of a gateway write them. Commits (conventional_commits.jsonl): the type
of a change from its subject, which embeddings tell badly. Columns: requests of a route that get it were nothing
refused; how well the fit orders requests inside before those outside (AUROC); then, at the default threshold,
requests inside that are kept, those of the kept that are right, requests outside that are refused, and requests of
both sorts that end where a person would send them; how far the confidence is from the truth (expected calibration
error).
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config.settings import RoutePreference
from harness.routing.embedding import Encoder, Vector
from harness.routing.keywords import readable
from harness.routing.preferences import THRESHOLD, Classifier, KeywordClassifier, Scores
from harness.routing.semantic import SemanticClassifier

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"
EXAMPLES = 5
BINS = 10
CHANGES = {
    "fix": "bug fixes, correcting wrong behaviour, crashes and errors",
    "feat": "new features, added functionality and options",
    "docs": "documentation, README, comments, changelog",
    "test": "adding or changing tests",
    "refactor": "restructuring code without changing what it does",
}

COLUMNS = (("right", 8), ("AUROC", 8), ("kept", 8), ("of them", 9), ("refused", 9), ("in all", 8), ("ECE", 7))

Make = Callable[[Sequence[RoutePreference]], Classifier]


@dataclass(frozen=True)
class Task:
    name: str
    routes: Sequence[RoutePreference]
    inside: Sequence[tuple[str, str]]
    """Request, route."""
    outside: Sequence[str]


class Remembering(Encoder):
    """Every text is encoded once in a run, however many sets of routes it is asked of."""

    def encode(self, text: str) -> Vector:
        if text not in self._known:
            self._known[text] = super().encode(text)
        return self._known[text]


def rows(name: str, every: int = 1) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()][::every]


def clinc(every: int) -> Iterator[Task]:
    described = yaml.safe_load((HERE / "clinc150_routes.yaml").read_text(encoding="utf-8"))
    train = rows("clinc150_train.jsonl")
    pick = random.Random(0)
    shown = {name: pick.sample([row["text"] for row in train if row["label"] == name], EXAMPLES) for name in described}
    domains: dict[str, dict[str, None]] = {}
    for row in train:
        domains.setdefault(row["domain"], {})[readable(row["label"])] = None
    test, outside = rows("clinc150_test.jsonl", every), [row["text"] for row in rows("clinc150_oos_test.jsonl", every)]
    inside = [(row["text"], row["label"]) for row in test]
    by_name = [RoutePreference(name=name, description=readable(name)) for name in described]
    by_description = [RoutePreference(name=name, description=text) for name, text in described.items()]
    ten = [RoutePreference(name=name, description=", ".join(intents)) for name, intents in domains.items()]
    yield Task("150 routes, name only", by_name, inside, outside)
    yield Task("150, name and description", by_description, inside, outside)
    yield Task("150, name and 5 examples", exemplified(by_name, shown), inside, outside)
    yield Task("150, all three", exemplified(by_description, shown), inside, outside)
    yield Task("10 domains, described", ten, [(row["text"], row["domain"]) for row in test], outside)


def exemplified(routes: Iterable[RoutePreference], shown: dict[str, list[str]]) -> list[RoutePreference]:
    return [route.model_copy(update={"examples": tuple(shown[route.name])}) for route in routes]


def configurations(part: str) -> list[Task]:
    found = yaml.safe_load((HERE / "route_configurations.yaml").read_text(encoding="utf-8"))[part]
    tasks = []
    for row in found:
        routes = [RoutePreference(name=name, description=text) for name, text in row["routes"].items()]
        asked = [(text, name) for name, texts in row["requests"].items() for text in texts if name != "none"]
        tasks.append(Task(row["name"], routes, asked, row["requests"].get("none", [])))
    return tasks


def commits(every: int) -> Task:
    routes = [RoutePreference(name=name, description=text) for name, text in CHANGES.items()]
    found = rows("conventional_commits.jsonl", every)
    return Task(
        "5 types of commits", routes, [(row["text"], row["label"]) for row in found if row["label"] in CHANGES], ()
    )


@dataclass
class Tally:
    """What a classifier said of the requests of one or more tasks."""

    inside: list[tuple[float, float, bool]]
    """Fit, confidence, right."""
    outside: list[float]

    @classmethod
    def of(cls, tasks: Sequence[Task], make: Make) -> Tally:
        tally = cls([], [])
        for task in tasks:
            classifier = make(task.routes)
            names = [route.name for route in task.routes]
            for text, wanted in task.inside:
                fit, share, name = best(classifier.scores(text), names)
                tally.inside.append((fit, share, name == wanted))
            tally.outside += [best(classifier.scores(text), names)[0] for text in task.outside]
        return tally

    def figures(self) -> list[float | None]:
        right = [right for _, _, right in self.inside]
        kept = [right for fit, _, right in self.inside if fit >= THRESHOLD]
        refused = sum(fit < THRESHOLD for fit in self.outside)
        ended = (sum(kept) + refused) / (len(self.inside) + len(self.outside))
        error = calibration([(share, right) for _, share, right in self.inside])
        order = auroc([fit for fit, _, _ in self.inside], self.outside) if self.outside else None
        rejected = refused / len(self.outside) if self.outside else None
        kept_right = sum(kept) / len(kept) if kept else None
        return [sum(right) / len(right), order, len(kept) / len(right), kept_right, rejected, ended, error]


def best(scores: Scores, names: Sequence[str]) -> tuple[float, float, str]:
    index = max(range(len(names)), key=lambda number: (scores.share[number], -number))
    return scores.fit[index], scores.share[index], names[index]


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """How often a request inside has a higher fit than one outside; ties count half."""
    ordered = sorted([(fit, 1) for fit in inside] + [(fit, 0) for fit in outside])
    won, below, index = 0.0, 0, 0
    while index < len(ordered):
        end = index
        while end < len(ordered) and ordered[end][0] == ordered[index][0]:
            end += 1
        ups = sum(kind for _, kind in ordered[index:end])
        downs = end - index - ups
        won += ups * (below + downs / 2)
        below += downs
        index = end
    return won / (len(inside) * len(outside))


def calibration(said: Sequence[tuple[float, bool]]) -> float:
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for share, right in said:
        bins[min(BINS - 1, int(share * BINS))].append((share, right))
    return sum(abs(sum(share - right for share, right in row)) for row in bins) / len(said)


def accuracy(every: int) -> None:
    encode = Remembering()
    makes: dict[str, Make] = {
        "keywords": lambda routes: KeywordClassifier(routes),
        "embedded": lambda routes: SemanticClassifier(routes, encode),
    }
    groups = [(task.name, [task]) for task in clinc(every)]
    groups.append(("10 configurations, tuning", configurations("tuning")))
    groups.append(("20 configurations, held out", configurations("held_out")))
    groups.append(("5 types of commits", [commits(every)]))
    print(f"{'':28}{'':>9}" + "".join(title.rjust(width) for title, width in COLUMNS) + "   ratio")
    for title, tasks in groups:
        baseline = 0.0
        for name, make in makes.items():
            figures = Tally.of(tasks, make).figures()
            right = figures[0] or 0.0
            baseline = baseline or right
            cells = (cell(value, width) for value, (_, width) in zip(figures, COLUMNS, strict=True))
            print(f"{title:28}{name:>9}{''.join(cells)}{right / baseline:7.2f}x")


def cell(value: float | None, width: int) -> str:
    return "–".rjust(width) if value is None else f"{value:{width}.3f}"


def speed() -> None:
    described = yaml.safe_load((HERE / "clinc150_routes.yaml").read_text(encoding="utf-8"))
    routes = [RoutePreference(name=name, description=text) for name, text in described.items()]
    train = rows("clinc150_train.jsonl")
    words = " ".join(row["text"] for row in train[::50]).split()
    began = time.perf_counter()
    encode = Encoder()
    loaded = time.perf_counter()
    semantic = SemanticClassifier(routes, encode)
    made = time.perf_counter()
    pick = random.Random(0)
    shown = {name: pick.sample([row["text"] for row in train if row["label"] == name], 10) for name in described}
    SemanticClassifier(exemplified(routes, shown), encode)
    again = time.perf_counter()
    print(f"\nloading {(loaded - began) * 1e3:.0f} ms; 150 described routes {(made - loaded):.2f} s; "
          f"the same with 10 examples each {(again - made):.2f} s more")  # fmt: skip
    print(f"{'':28}{'p50 ms':>9}{'p99 ms':>9}   ratio to the model alone")
    for count in (30, 500):
        texts = [" ".join(words[start : start + count]) for start in range(0, 200 * 4, 4)]
        base = timed(encode.encode, texts)
        calls = {"the model": encode.encode, "embedded": semantic.scores, "keywords": KeywordClassifier(routes).scores}
        for name, call in calls.items():
            taken = base if name == "the model" else timed(call, texts)
            print(f"{f'{count} words, {name}':28}{taken[0]:9.2f}{taken[1]:9.2f}{taken[0] / base[0]:7.2f}x")


def timed(call: Callable[[str], object], texts: Sequence[str]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    call(texts[0])
    taken = []
    for text in texts:
        began = time.perf_counter()
        call(text)
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def main(asked: str) -> None:
    if asked != "speed":
        accuracy(int(asked or 1))
    speed()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
