"""Graphs of plans: every task right of what it needs, nothing over anything else."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drawing import graph, layered, routes, state_of
from harness.types import Plan, Task
from tests.fakes.runs import make_run

plans = st.lists(st.sets(st.integers(0, 12), max_size=3), min_size=1, max_size=13).map(
    lambda rows: [
        Task(id=f"t{n}", title=f"task {n}", depends_on=tuple(f"t{o}" for o in sorted(row) if o < n))
        for n, row in enumerate(rows)
    ]
)


@given(plans)
def test_every_task_once_and_right_of_what_it_needs(tasks: list[Task]) -> None:
    layers = layered(tasks)
    depth = {item: index for index, items in enumerate(layers) for item in items}
    assert sorted(item for item in depth if isinstance(item, str)) == sorted(task.id for task in tasks)
    for task in tasks:
        for other in task.depends_on:
            assert depth[other] < depth[task.id]


@given(plans)
def test_an_edge_visits_every_layer_between(tasks: list[Task]) -> None:
    layers = layered(tasks)
    depth = {item: index for index, items in enumerate(layers) for item in items}
    for route in routes(tasks, layers):
        assert [depth[item] for item in route] == list(range(depth[route[0]], depth[route[-1]] + 1))


@settings(max_examples=20)
@given(plans)
def test_boxes_do_not_touch(tasks: list[Task]) -> None:
    run = make_run().grown(plan=Plan(summary="", tasks=tuple(tasks)), results=())
    boxes = re.findall(r'<svg class="node [^"]*" x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', graph(run))
    assert len(boxes) == len(tasks)
    placed = [tuple(map(float, box)) for box in boxes]
    for index, (x, y, w, h) in enumerate(placed):
        for x2, y2, w2, h2 in placed[:index]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_states() -> None:
    run = make_run(seed=7, tasks=4, status="running")
    done, waiting = run.results[0], None
    assert state_of(done) == "done"
    assert state_of(waiting) == "waiting"
    assert state_of(waiting, "running") == "running"
    drawn = graph(run.grown(results=(done,)), {"t2": "running"})
    assert [drawn.count(f'"node {state}"') for state in ("done", "running", "waiting")] == [1, 1, 2]


def test_no_plan_is_no_picture() -> None:
    assert "No plan yet" in graph(make_run().grown(plan=None))


def test_a_cycle_still_shows() -> None:
    tasks = (Task(id="a", title="a", depends_on=("b",)), Task(id="b", title="b", depends_on=("a",)))
    assert graph(make_run().grown(plan=Plan(summary="", tasks=tasks))).count("node ") == 2


def test_a_dependency_that_is_not_there_is_left_out() -> None:
    tasks = (Task(id="a", title="a", depends_on=("gone",)),)
    assert "path" not in graph(make_run().grown(plan=Plan(summary="", tasks=tasks)))
