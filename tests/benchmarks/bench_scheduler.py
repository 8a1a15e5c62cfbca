"""How near the scheduler comes to the best possible, and what it costs.

    python tests/benchmarks/bench_scheduler.py

Random DAGs of 10 to 1,000 tasks with simulated durations, run on the real `Frontier` in simulated time. The baseline is
the lower bound that no schedule can beat: max(critical path, longest task, work / parallel). For the smaller DAGs that
bound is often out of any schedule's reach, so first-come-first-served is shown beside it.
"""

from __future__ import annotations

import heapq
import random
import resource
import time
from collections.abc import Callable

from harness.graph import Frontier, critical
from harness.types import Plan, Task

SIZES = (10, 30, 100, 300, 1000)
PARALLEL = (2, 4, 8, 16)
DAGS = 25


def random_plan(source: random.Random, size: int) -> Plan:
    """As planners write them: most tasks need none to three of those before them, near ones rather than far ones."""
    tasks = []
    for number in range(size):
        reach = range(max(0, number - max(4, size // 5)), number)
        needs = source.sample(reach, min(len(reach), source.choice((0, 0, 1, 1, 2, 3))))
        tasks.append(Task(id=f"t{number}", title="t", depends_on=tuple(f"t{need}" for need in needs)))
    return Plan(summary="s", tasks=tuple(tasks))


def makespan(frontier: Frontier, seconds: dict[str, float], parallel: int) -> float:
    """Simulated seconds until the last task has ended."""
    now, running = 0.0, []  # type: ignore[var-annotated]
    while True:
        while len(running) < parallel and (task := frontier.take()) is not None:
            heapq.heappush(running, (now + seconds[task.id], task.id))
        if not running:
            return now
        now, name = heapq.heappop(running)
        frontier.done(name)


def lower_bound(plan: Plan, seconds: dict[str, float], parallel: int) -> float:
    return max(max(critical(plan, seconds).values()), sum(seconds.values()) / parallel)


def share_within(ratios: list[float], bound: float) -> float:
    return sum(ratio <= bound for ratio in ratios) / len(ratios)


def quality() -> None:
    source = random.Random(7)
    print("makespan / lower bound:")
    print(f"{'tasks':>6} {'parallel':>8} {'median':>8} {'p95':>8} {'≤ 1.03':>8} {'by arrival ≤ 1.03':>18}")
    everything: list[float] = []
    for size in SIZES:
        for parallel in PARALLEL:
            ratios, plain = [], []
            for _ in range(DAGS):
                plan = random_plan(source, size)
                seconds = {task.id: source.lognormvariate(3, 0.8) for task in plan.tasks}
                bound = lower_bound(plan, seconds, parallel)
                ratios.append(makespan(Frontier(plan, seconds), seconds, parallel) / bound)
                flat = dict.fromkeys(seconds, 0.0)
                plain.append(makespan(Frontier(plan, flat), seconds, parallel) / bound)
            ratios.sort()
            everything += ratios
            print(f"{size:>6} {parallel:>8} {ratios[DAGS // 2]:>8.3f} {ratios[int(DAGS * 0.95)]:>8.3f} "
                  f"{share_within(ratios, 1.03):>8.0%} {share_within(plain, 1.03):>18.0%}")  # fmt: skip
    print(f"   all          {share_within(everything, 1.03):.1%} of {len(everything)} DAGs within 1.03 (target 95 %)\n")


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def overhead() -> None:
    source = random.Random(3)
    print(f"{'tasks':>6} {'build ms/task':>14} {'take+done ms/task':>18} {'plain loop ms/task':>19} {'peak MB':>8}")
    for size in (10, 100, 1000, 10_000):
        plan = random_plan(source, size)
        made: list[Frontier] = []
        build = timed(lambda plan=plan, made=made: made.append(Frontier(plan)))  # type: ignore[misc]

        def drain(frontier: Frontier = made[0]) -> None:
            while (task := frontier.take()) is not None:
                frontier.done(task.id)

        walk = timed(drain)
        baseline = timed(lambda plan=plan: [task.depends_on for task in plan.tasks])  # type: ignore[misc]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        costs = f"{build / size * 1e3:>14.4f} {walk / size * 1e3:>18.4f} {baseline / size * 1e3:>19.5f}"
        print(f"{size:>6} {costs} {peak:>8.0f}")


if __name__ == "__main__":
    overhead()
    print()
    quality()
