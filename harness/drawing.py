"""A plan as a picture: a layered graph in SVG, the same in the report and on the runs page. Colours come from CSS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.markup import Html, tag
from harness.types import Run, Task, TaskResult

COMPACT_ABOVE = 40
"""Tasks; from here on a node is a chip with its id, and the rest is in its tooltip."""


@dataclass(frozen=True)
class _Sizes:
    width: int
    height: int
    across: int
    """Between two layers."""
    down: int


_FULL = _Sizes(232, 58, 46, 16)
_SMALL = _Sizes(64, 26, 30, 8)
_LANE = 12
"""Height of the lane that a long edge gets in each layer it passes."""


def graph(run: Run, live: Mapping[str, str] | None = None) -> Html:
    """The run's tasks from left to right in dependency order, each with its state.

    `live` names the state of tasks that have no result yet (`running`); the others wait.
    """
    tasks = run.plan.tasks if run.plan else ()
    if not tasks:
        return tag("p", "No plan yet.", class_="quiet")
    results = {result.task_id: result for result in run.results}
    sizes = _SMALL if len(tasks) > COMPACT_ABOVE else _FULL
    layers = layered(tasks)
    places, height = _placed(layers, sizes)
    width = len(layers) * (sizes.width + sizes.across) - sizes.across
    edges = [_edge(route, places, sizes) for route in routes(tasks, layers)]
    nodes = [_node(task, results.get(task.id), (live or {}).get(task.id), places[task.id], sizes) for task in tasks]
    return tag(
        "svg", tag("g", edges, class_="edges"), nodes, class_="graph", role="img",
        aria_label=f"{len(tasks)} tasks in dependency order", viewBox=f"-2 -2 {width + 4} {height + 4:g}",
        width=width + 4, height=f"{height + 4:g}", xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


Lane = tuple[str, str, int]
"""Where an edge (from, to) passes a layer between its ends."""


def layered(tasks: Sequence[Task]) -> list[list[str | Lane]]:
    """Task ids in layers, each right of all it depends on and near the height of its predecessors.

    An edge over several layers has a lane of its own in those between, so that it runs between tasks, not behind them.
    """
    known = {task.id for task in tasks}
    depth: dict[str, int] = {}
    left = list(tasks)
    while left:
        ready = [task for task in left if all(other in depth or other not in known for other in task.depends_on)]
        # A cycle cannot come out of a checked plan; should one, the first task breaks it and the picture still shows.
        for task in ready or left[:1]:
            depth[task.id] = 1 + max((depth.get(other, -1) for other in task.depends_on), default=-1)
        left = [task for task in left if task.id not in depth]
    layers: list[list[str | Lane]] = [[] for _ in range(max(depth.values()) + 1)]
    before: dict[str | Lane, list[str | Lane]] = {}
    for task in tasks:
        layers[depth[task.id]].append(task.id)
        before[task.id] = []
        for other in task.depends_on:
            last: str | Lane = other
            for layer in range(depth.get(other, depth[task.id]) + 1, depth[task.id]):
                lane = (other, task.id, layer)
                layers[layer].append(lane)
                before[lane] = [last]
                last = lane
            before[task.id].append(last)
    height: dict[str | Lane, float] = {}
    for items in layers:
        rank = {item: number for number, item in enumerate(items)}
        items.sort(key=lambda item: (_mean([height[o] for o in before[item] if o in height]), rank[item]))
        height.update({item: row - len(items) / 2 for row, item in enumerate(items)})
    return layers


def routes(tasks: Sequence[Task], layers: Sequence[Sequence[str | Lane]]) -> list[list[str | Lane]]:
    """Each edge as the places it passes, its ends included."""
    lanes: dict[tuple[str, str], list[str | Lane]] = {}
    shown = set()
    for items in layers:
        for item in items:
            if isinstance(item, tuple):
                lanes.setdefault(item[:2], []).append(item)
            else:
                shown.add(item)
    return [
        [other, *lanes.get((other, task.id), ()), task.id]
        for task in tasks for other in task.depends_on if other in shown
    ]  # fmt: skip


def _placed(
    layers: Sequence[Sequence[str | Lane]], sizes: _Sizes
) -> tuple[dict[str | Lane, tuple[float, float]], float]:
    """Upper left corners, and the height of it all."""

    def tall(item: str | Lane) -> int:
        return (_LANE if isinstance(item, tuple) else sizes.height) + sizes.down

    whole = max(sum(map(tall, items)) for items in layers) - sizes.down
    places: dict[str | Lane, tuple[float, float]] = {}
    for index, items in enumerate(layers):
        y = (whole - sum(map(tall, items)) + sizes.down) / 2
        for item in items:
            places[item] = (index * (sizes.width + sizes.across), y)
            y += tall(item)
    return places, whole


def state_of(result: TaskResult | None, live: str | None = None) -> str:
    """`done`, `failed`, `skipped`, `running` or `waiting`."""
    return result.status if result else live or "waiting"


def _node(task: Task, result: TaskResult | None, live: str | None, at: tuple[float, float], sizes: _Sizes) -> Html:
    state = state_of(result, live)
    tier = result.attempts[-1].tier if result and result.attempts else task.tier or ""
    tries = len(result.attempts) if result else 0
    cost = f"${result.usage.cost_usd:.4f}" if result and result.attempts else ""
    note = " · ".join(part for part in (tier, f"{tries} tries" if tries > 1 else "", cost) if part) or state
    full = sizes is _FULL
    w, h = sizes.width, sizes.height
    inside = [
        tag("title", f"{task.id}: {task.title} — {state}" + (f" ({note})" if note != state else "")),
        tag("rect", x=0.7, y=0.7, width=w - 1.4, height=h - 1.4, rx=8 if full else 6, class_="box"),
        tag("rect", x=0.5, y=9 if full else 6, width=4, height=h - (18 if full else 12), rx=2, class_="mark"),
    ]
    if full:
        inside += [
            tag("text", _cut(task.title, 26), x=15, y=24, class_="name"),
            tag("text", tag("tspan", task.id, class_="id"), f"  {note}", x=15, y=43, class_="note"),
        ]
    else:
        inside.append(tag("text", _cut(task.id, 7), x=13, y=17, class_="note"))
    # A nested <svg> cuts off what a wide font would push over the edge.
    box = tag("svg", inside, class_=f"node {state}", x=f"{at[0]:g}", y=f"{at[1]:g}", width=w, height=h)
    return tag("a", box, href=f"#task-{task.id}")


def _edge(route: Sequence[str | Lane], places: Mapping[str | Lane, tuple[float, float]], sizes: _Sizes) -> Html:
    bend = sizes.across * 0.55
    path = ""
    for start, end in pairwise(route):
        x1, y1 = places[start][0] + sizes.width, _middle(start, places, sizes)
        x2, y2 = places[end][0], _middle(end, places, sizes)
        path += f"M{x1:g} {y1:g}" if not path else f"L{x1:g} {y1:g}"
        path += f"C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return tag("path", d=path)


def _middle(item: str | Lane, places: Mapping[str | Lane, tuple[float, float]], sizes: _Sizes) -> float:
    return places[item][1] + (_LANE if isinstance(item, tuple) else sizes.height) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _cut(text: str, length: int) -> str:
    text = text.replace("`", "")
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
