"""What the queue itself costs: `python -m tests.benchmarks.bench_queue [FILE] [--issues 100]`.

A real queue of thousands of issues (all of them made open) in one JSON Lines file: loaded and routed as a whole, then
issues looked for, claimed and finished one by one, as `harness work` does; no model is called. The baseline is reading
the file with `json` alone. Each row runs in a process of its own, so that memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from harness import registry
from harness.claims import Claims
from harness.cli.route import read_issues
from harness.config.settings import Settings
from harness.protocols import Deps
from harness.queue import Queue
from harness.routing.router import build_router
from harness.taking import Taker
from harness.types import Issue, Run
from tests.fakes.places import issues, place
from tests.fakes.runs import make_run

QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"
ROWS = {
    "json": "json alone",
    "load": "… as issues",
    "route": "… and routed",
    "look": "what is ready",
    "claim": "… and claimed",
    "finish": "… and finished",
    "release": "… or given back",
}
ONE_BY_ONE = ("look", "claim", "finish", "release")


def prepare(folder: Path, source: Path) -> Settings:
    """A repository whose queue is the file's issues, all of them open."""
    settings = place(folder, [], [])
    with source.open(encoding="utf-8") as lines, issues(folder).open("w", encoding="utf-8") as file:
        for line in lines:
            row = {**json.loads(line), "status": "open", "assignee": None, "dependencies": []}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return settings


async def measure(kind: str, settings: Settings, count: int) -> dict[str, Any]:
    """One row's figures."""
    tiers: Counter[str] = Counter()
    if kind == "json":
        began = time.perf_counter()
        with issues(settings.root).open(encoding="utf-8") as lines:
            number = len([json.loads(line) for line in lines])
    elif kind in ("load", "route"):
        router = build_router(settings)
        began = time.perf_counter()
        with issues(settings.root).open(encoding="utf-8") as lines:
            loaded = list(read_issues(lines))
        number = len(loaded)
        if kind == "route":
            tiers.update(f"{decision.strategy} → {decision.tier}" for decision in map(router.route, loaded))
    else:
        async with registry.build(settings) as deps:
            queue = Queue(deps, partial(registry.pipeline, settings=settings))
            first = await queue.candidates(count)
            number = len(first)
            began = time.perf_counter()
            for issue in first:
                await STEPS[kind](deps, queue, issue)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"n": number, "seconds": seconds, "mb": memory, "tiers": tiers}


async def look(deps: Deps, queue: Queue, issue: Issue) -> None:
    """What is ready, after somebody has changed the file."""
    issues(deps.settings.root).touch()
    await queue.candidates(1)


async def claim(deps: Deps, queue: Queue, issue: Issue) -> None:
    await look(deps, queue, issue)
    assert await Taker(deps, claims=Claims(deps.settings.state)).claim(issue.id)


async def finish(deps: Deps, queue: Queue, issue: Issue) -> None:
    await claim(deps, queue, issue)
    await settle(deps, issue, "done")
    # As landing tells the tracker.
    await deps.tracker.comment(issue.id, "Done by a benchmark.", deps.actor)
    await deps.tracker.close(issue.id, "landed", deps.actor)


async def release(deps: Deps, queue: Queue, issue: Issue) -> None:
    await claim(deps, queue, issue)
    await settle(deps, issue, "failed")


async def settle(deps: Deps, issue: Issue, status: str) -> None:
    async def ended() -> Run:
        return make_run(tasks=1, status=status).grown(issue=issue)

    await Taker(deps, claims=Claims(deps.settings.state)).work(issue, ended)


STEPS: dict[str, Callable[[Deps, Queue, Issue], Awaitable[None]]] = {
    "look": look, "claim": claim, "finish": finish, "release": release,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", nargs="?", type=Path, default=QUEUE)
    parser.add_argument("--issues", type=int, default=100, help="how many are claimed and finished")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harness-queue-") as name:
        settings = prepare(Path(name) / "repo", wanted.file)
        if wanted.row:
            print(json.dumps(anyio.run(measure, wanted.row, settings, wanted.issues)))
            return
    found = {}
    for kind in ROWS:
        argv = [sys.executable, "-m", "tests.benchmarks.bench_queue", str(wanted.file), "--row", kind]
        found[kind] = json.loads(subprocess.check_output([*argv, "--issues", str(wanted.issues)]))
    base = found["json"]["seconds"] / found["json"]["n"]
    print(f"{'':<18} {'issues':>7} {'s':>8} {'ms/issue':>9} {'issues/s':>9} {'ratio':>8} {'peak MB':>8}")
    for kind, one in found.items():
        each = one["seconds"] / one["n"]
        print(
            f"{ROWS[kind]:<18} {one['n']:>7} {one['seconds']:>8.3f} {1000 * each:>9.3f} {1 / each:>9.0f} "
            f"{each / base:>8.1f} {one['mb']:>8.0f}"
        )
    print("\nOne by one, each row holds those above it; the ratio is to one line read with json.\n")
    for name, count in Counter(found["route"]["tiers"]).most_common():
        print(f"  {count:>6}  {name}")


if __name__ == "__main__":
    main()
