"""Pure: is this plan a valid graph, what is ready, what matters most, what falls with a failure.

Tasks are nodes, `depends_on` are the edges. Nothing here touches a disk or a clock.
"""

from __future__ import annotations

import fnmatch
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import networkx as nx

from harness.errors import PlanError, did_you_mean
from harness.types import Plan, Task

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = frozenset({"integrated"})
"""Task ids that would take a branch name of the run's own."""


def check_plan(
    plan: Plan, tracked_files: Collection[str] = (), max_tasks: int = 20, tiers: Collection[str] = ()
) -> Plan:
    """The plan, normalised: clean paths, no edge twice, and an edge between any two tasks whose file scopes overlap.

    `tracked_files` are the repository's paths and `tiers` the known tiers; empty means not to check against them.
    Raises PlanError with every problem found, each a sentence that a planner can act on.
    """
    if not plan.tasks:
        raise PlanError(["the plan has no tasks; write at least one"])
    problems = [*_bad_size(plan, max_tasks), *_bad_ids(plan)]
    known = [task.id for task in plan.tasks]
    tracked = frozenset(tracked_files)
    for task in plan.tasks:
        problems += _bad_dependencies(task, known)
        problems += [problem for entry in task.files if (problem := _bad_path(task.id, entry, tracked))]
        if tiers and task.tier is not None and task.tier not in tiers:
            known_tiers = f"known: {', '.join(tiers)}{did_you_mean(task.tier, tiers)}"
            problems.append(f"task '{task.id}' asks for tier '{task.tier}'; {known_tiers}")
    if not problems:
        problems += _cycles(plan)
    if problems:
        raise PlanError(problems)
    return _without_races(plan.model_copy(update={"tasks": tuple(map(_clean, plan.tasks))}))


def order(plan: Plan) -> list[Task]:
    """The tasks so that each comes after those it depends on; otherwise as the plan lists them."""
    place = {task.id: number for number, task in enumerate(plan.tasks)}
    by_id = {task.id: task for task in plan.tasks}
    return [by_id[name] for name in nx.lexicographical_topological_sort(_graph(plan), key=place.__getitem__)]


def critical(plan: Plan, durations: Mapping[str, float] | None = None) -> dict[str, float]:
    """By task id: the length of the longest path from the task's start to the end of the plan, itself included.

    `durations` are expected seconds (any unit does); a task without one counts as the mean of the known, or as 1.
    """
    given = durations or {}
    default = sum(given.values()) / len(given) if given else 1.0
    followers = _followers(plan)
    remaining: dict[str, float] = {}
    for task in reversed(order(plan)):
        after = max((remaining[name] for name in followers[task.id]), default=0.0)
        remaining[task.id] = given.get(task.id, default) + after
    return remaining


def ready(plan: Plan, done: Collection[str], failed: Collection[str] = (), running: Collection[str] = ()) -> list[Task]:
    """Tasks that may start now, longest remaining path first."""
    remaining = critical(plan)
    finished, taken = set(done), {*done, *failed, *running}
    free = [task for task in plan.tasks if task.id not in taken and finished.issuperset(task.depends_on)]
    return sorted(free, key=lambda task: -remaining[task.id])


def doomed(plan: Plan, failed: Collection[str]) -> set[str]:
    """All tasks that depend, directly or not, on one of the failed."""
    graph = _graph(plan)
    return set().union(*(nx.descendants(graph, name) for name in failed)) - set(failed)


class Frontier:
    """What may start next, kept up to date task by task: each call costs O(edges touched × log tasks)."""

    def __init__(self, plan: Plan, durations: Mapping[str, float] | None = None) -> None:
        self._tasks = {task.id: task for task in plan.tasks}
        self._place = {task.id: number for number, task in enumerate(plan.tasks)}
        self._remaining = critical(plan, durations)
        self._followers = _followers(plan)
        self._missing = {task.id: len(set(task.depends_on)) for task in plan.tasks}
        self._settled: set[str] = set()
        self._heap: list[tuple[float, int, str]] = []
        for task in plan.tasks:
            if not self._missing[task.id]:
                self._push(task.id)

    def take(self) -> Task | None:
        """The ready task with the longest remaining path, now taken; None when nothing can start at present."""
        return self._tasks[heapq.heappop(self._heap)[2]] if self._heap else None

    def done(self, task_id: str) -> tuple[str, ...]:
        """A taken task succeeded: its followers may become ready. Nothing is skipped."""
        self._settled.add(task_id)
        for name in self._followers[task_id]:
            self._missing[name] -= 1
            if not self._missing[name] and name not in self._settled:
                self._push(name)
        return ()

    def failed(self, task_id: str) -> tuple[str, ...]:
        """A taken task failed: the ids of all that now can never start, nearest first, each told once."""
        self._settled.add(task_id)
        skipped: list[str] = []
        todo = [task_id]
        for name in todo:
            for follower in self._followers[name]:
                if follower not in self._settled:
                    self._settled.add(follower)
                    skipped.append(follower)
                    todo.append(follower)
        return tuple(skipped)

    @property
    def left(self) -> int:
        """How many tasks are neither done, failed nor skipped."""
        return len(self._tasks) - len(self._settled)

    def _push(self, name: str) -> None:
        heapq.heappush(self._heap, (-self._remaining[name], self._place[name], name))


# ── what makes a plan invalid ─────────────────────────────────────────────────────────────────────────────────


def _bad_size(plan: Plan, max_tasks: int) -> Iterator[str]:
    if len(plan.tasks) > max_tasks:
        yield f"the plan has {len(plan.tasks)} tasks, at most {max_tasks} are allowed; join the smallest ones"


def _bad_ids(plan: Plan) -> Iterator[str]:
    for name, count in Counter(task.id.lower() for task in plan.tasks).items():
        if count > 1:
            yield f"{count} tasks have the id '{name}'; give each its own (case does not tell them apart)"
    for task in plan.tasks:
        # The id becomes part of a branch name: git-check-ref-format's rules, and a bit narrower.
        if not _ID.fullmatch(task.id) or ".." in task.id or task.id.endswith((".", ".lock")):
            yield f"task id '{task.id[:80]}' cannot be part of a branch name; use letters, digits and '-', e.g. 't1'"
        elif task.id.lower() in RESERVED:
            yield f"task id '{task.id}' is reserved; choose another, e.g. 't1'"


def _bad_dependencies(task: Task, known: Collection[str]) -> Iterator[str]:
    for name in task.depends_on:
        if name == task.id:
            yield f"task '{task.id}' depends on itself; remove '{name}' from its depends_on"
        elif name not in known:
            yield f"task '{task.id}' depends on '{name}', which is no task of the plan{did_you_mean(name, known)}"


def _bad_path(task_id: str, entry: str, tracked: frozenset[str]) -> str | None:
    parts = _parts(entry)
    where = f"task '{task_id}' lists the file '{entry[:200]}'"
    if not parts or "\0" in entry or "\n" in entry:
        return f"{where}, which names nothing; write a path relative to the repository, or leave files empty"
    if entry.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", entry):
        return f"{where}, which is not relative to the repository; write e.g. 'src/app.py'"
    if ".." in parts:
        return f"{where}, which leads out of the repository; remove the '..'"
    if any(part.lower() == ".git" for part in parts):
        return f"{where}, which is git's own; no task may change it"
    for end in range(1, len(parts)):
        if "/".join(parts[:end]) in tracked:
            return f"{where}, but '{'/'.join(parts[:end])}' is a file, not a folder"
    return None


def _cycles(plan: Plan) -> Iterator[str]:
    """One sentence for each knot of tasks that wait for each other."""
    graph = _graph(plan)
    for knot in nx.strongly_connected_components(graph):
        if len(knot) > 1:
            start = min(knot, key=[task.id for task in plan.tasks].index)
            around = [edge[0] for edge in nx.find_cycle(graph.subgraph(knot), start)]
            # An edge runs from the needed to the needing; read backwards it says who waits for whom.
            names = [around[0], *reversed(around)]
            yield f"tasks wait for each other in a circle: {' → '.join(names)}; remove one of these dependencies"


# ── file scopes ───────────────────────────────────────────────────────────────────────────────────────────────


def overlap(one: str, other: str) -> bool:
    """Whether two scope entries (a path, a folder or a glob each) may cover the same path.

    Errs on the side of yes for two globs: they are taken to meet when what stands before their first and after
    their last wildcard fits together. An edge too many costs time, one too few costs a conflict.
    """
    first, second = _normal(one), _normal(other)
    if not _is_glob(first) and not _is_glob(second):
        return first == second or first.startswith(second + "/") or second.startswith(first + "/")
    if _is_glob(first) and _is_glob(second):
        heads, tails = (_head(first), _head(second)), (_tail(first), _tail(second))
        return _fits(heads, str.startswith) and _fits(tails, str.endswith)
    glob, path = (first, second) if _is_glob(first) else (second, first)
    if fnmatch.fnmatchcase(path, glob.replace("**/", "*")):
        return True
    is_file = "." in path.rsplit("/", 1)[-1][1:]
    return not is_file and _fits((_head(glob), path + "/"), str.startswith)


def _without_races(plan: Plan) -> Plan:
    """Edges between tasks that could run at once and change the same file; the one later in `order` waits.

    All new edges follow one topological order, so none can close a circle. Ancestors are kept as bit sets.
    """
    ancestors: dict[str, int] = {}
    bit: dict[str, int] = {}
    before: list[Task] = []
    scopes = _Scopes()
    added: dict[str, Task] = {}
    for number, task in enumerate(order(plan)):
        known = 0
        for name in task.depends_on:
            known |= ancestors[name] | bit[name]
        needs = list(task.depends_on)
        for other in sorted(scopes.meeting(task), reverse=True):
            if not known >> other & 1:
                name = before[other].id
                needs.append(name)
                known |= ancestors[name] | bit[name]
        ancestors[task.id], bit[task.id] = known, 1 << number
        scopes.add(number, task)
        before.append(task)
        added[task.id] = task.model_copy(update={"depends_on": tuple(needs)})
    return plan.model_copy(update={"tasks": tuple(added[task.id] for task in plan.tasks)})


class _Scopes:
    """Which earlier tasks' scopes meet a task's: by dictionary for plain paths, one by one for globs."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._inside: dict[str, list[int]] = defaultdict(list)
        self._globs: list[tuple[str, int]] = []

    def add(self, number: int, task: Task) -> None:
        for entry in task.files:
            if _is_glob(entry):
                self._globs.append((entry, number))
            else:
                self._exact[entry].append(number)
                for folder in _folders(entry):
                    self._inside[folder].append(number)

    def meeting(self, task: Task) -> set[int]:
        """Numbers of earlier tasks. An empty scope is no promise and meets nobody: a conflict is then redone."""
        found: set[int] = set()
        for entry in task.files:
            found.update(number for glob, number in self._globs if overlap(glob, entry))
            if _is_glob(entry):
                found.update(number for path, users in self._exact.items() if overlap(entry, path) for number in users)
            else:
                found.update(self._exact.get(entry, ()), self._inside.get(entry, ()))
                for folder in _folders(entry):
                    found.update(self._exact.get(folder, ()))
        return found


def _clean(task: Task) -> Task:
    files = tuple(dict.fromkeys(map(_normal, task.files)))
    return task.model_copy(update={"files": files, "depends_on": tuple(dict.fromkeys(task.depends_on))})


def _parts(entry: str) -> list[str]:
    return [part for part in entry.strip().split("/") if part not in ("", ".")]


def _normal(entry: str) -> str:
    return "/".join(_parts(entry))


def _folders(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


def _is_glob(entry: str) -> bool:
    return any(sign in entry for sign in "*?[")


def _head(glob: str) -> str:
    return re.split(r"[*?[]", glob, maxsplit=1)[0]


def _tail(glob: str) -> str:
    return re.split(r"[*?\]]", glob)[-1]


def _fits(pair: Sequence[str], test: Callable[[str, str], bool]) -> bool:
    return test(pair[0], pair[1]) or test(pair[1], pair[0])


# ── graphs ────────────────────────────────────────────────────────────────────────────────────────────────────


def _graph(plan: Plan) -> nx.DiGraph[str]:
    """An edge from each task to those that wait for it."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(task.id for task in plan.tasks)
    graph.add_edges_from((name, task.id) for task in plan.tasks for name in task.depends_on)
    return graph


def _followers(plan: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {task.id: [] for task in plan.tasks}
    for task in plan.tasks:
        for name in dict.fromkeys(task.depends_on):
            found[name].append(task.id)
    return found
