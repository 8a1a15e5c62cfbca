"""Plans as graphs: what is refused and how it is told, what may start, what falls with a failure."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import PlanError
from harness.graph import Frontier, check_plan, critical, doomed, order, overlap, ready
from harness.types import Plan, Task


def task(name: str, *needs: str, files: tuple[str, ...] = (), tier: str | None = None) -> Task:
    return Task(id=name, title=name, depends_on=needs, files=files, tier=tier)


def plan(*tasks: Task) -> Plan:
    return Plan(summary="s", tasks=tasks)


def edges(checked: Plan) -> dict[str, tuple[str, ...]]:
    return {item.id: item.depends_on for item in checked.tasks}


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ((), "has no tasks"),
        (tuple(task(f"t{n}") for n in range(4)), "has 4 tasks, at most 3"),
        ((task("a"), task("a")), "2 tasks have the id 'a'"),
        ((task("a"), task("A")), "2 tasks have the id 'a'"),
        ((task("tests"), task("b", "test")), "depends on 'test', which is no task of the plan — did you mean 'tests'"),
        ((task("a", "a"),), "depends on itself"),
        ((task("a", "c"), task("b", "a"), task("c", "b")), "in a circle: a → c → b → a"),
        ((task("a b"),), "cannot be part of a branch name"),
        ((task("../x"),), "cannot be part of a branch name"),
        ((task("a..b"),), "cannot be part of a branch name"),
        ((task("a.lock"),), "cannot be part of a branch name"),
        ((task("-a"),), "cannot be part of a branch name"),
        ((task("integrated"),), "is reserved"),
        ((task("a", files=("/etc/passwd",)),), "'/etc/passwd', which is not relative"),
        ((task("a", files=("~/.ssh",)),), "is not relative"),
        ((task("a", files=("C:\\x",)),), "is not relative"),
        ((task("a", files=("src/../../x",)),), "leads out of the repository"),
        ((task("a", files=(".git/hooks/pre-commit",)),), "git's own"),
        ((task("a", files=("sub/.GIT/config",)),), "git's own"),
        ((task("a", files=("",)),), "names nothing"),
        ((task("a", files=("README.md/x",)),), "'README.md' is a file, not a folder"),
        ((task("a", tier="hiaku"),), "tier 'hiaku'; known: haiku, opus — did you mean 'haiku'"),
    ],
)
def test_a_bad_plan_is_refused_in_words_a_planner_can_use(tasks: tuple[Task, ...], said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)) as caught:
        check_plan(plan(*tasks), ("README.md", "src/app.py"), max_tasks=3, tiers=("haiku", "opus"))
    assert caught.value.exit_code == 1


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        check_plan(plan(task("a", "x"), task("b", files=("/x", "../y"))))
    assert len(caught.value.problems) == 3


def test_two_circles_are_two_problems() -> None:
    with pytest.raises(PlanError) as caught:
        check_plan(plan(task("a", "b"), task("b", "a"), task("c", "d"), task("d", "c"), task("e")))
    assert len(caught.value.problems) == 2


# ── normalised ────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_and_edges_are_cleaned() -> None:
    checked = check_plan(plan(task("a"), task("b", "a", "a", files=("./src//x.py", "src/x.py", "docs/"))))
    assert checked.tasks[1].files == ("src/x.py", "docs")
    assert checked.tasks[1].depends_on == ("a",)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a.py", "a.py", True),
        ("a.py", "b.py", False),
        ("src", "src/a.py", True),
        ("src", "srcs/a.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/a.md", False),
        ("src/*.py", "docs/*.py", False),
        ("src/*.py", "src/*.md", False),
        ("src/**", "src/a/b/c.py", True),
        ("src/**/*.py", "src/a.py", True),
        ("src/**", "src", True),
        ("src/a*", "src/ab*", True),
        ("*.md", "README.md", True),
        ("*.md", "setup.cfg", False),
        ("*.py", "src", True),
        ("[ab].py", "a.py", True),
        ("[ab].py", "c.py", False),
    ],
)
def test_overlapping_scopes(one: str, other: str, meet: bool) -> None:
    assert overlap(one, other) is meet
    assert overlap(other, one) is meet


def test_an_overlap_becomes_an_edge_and_the_later_task_waits() -> None:
    checked = check_plan(plan(task("a", files=("src",)), task("b", files=("src/x.py",)), task("c", files=("docs",))))
    assert edges(checked) == {"a": (), "b": ("a",), "c": ()}


def test_ordered_tasks_get_no_second_edge() -> None:
    tasks = (task("a", "b", files=("x",)), task("b", files=("x",)), task("c", "a", files=("x",)))
    assert edges(check_plan(plan(*tasks))) == {"a": ("b",), "b": (), "c": ("a",)}


def test_many_tasks_on_one_file_become_a_chain() -> None:
    checked = check_plan(plan(*(task(f"t{n}", files=("x",)) for n in range(5))))
    assert [item.depends_on for item in checked.tasks] == [(), ("t0",), ("t1",), ("t2",), ("t3",)]


PATHS = ["a.py", "src", "src/a.py", "src/*.py", "docs/**", "docs/x.md", "*.md"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Acyclic plans in any list order, with scopes that may overlap."""
    size = draw(st.integers(1, 12))
    shuffled = draw(st.permutations(range(size)))
    tasks = []
    for number in range(size):
        needs = draw(st.sets(st.sampled_from(range(number)), max_size=3)) if number else set()
        files = draw(st.lists(st.sampled_from(PATHS), max_size=2))
        tasks.append(task(f"t{number}", *(f"t{n}" for n in sorted(needs)), files=tuple(files)))
    return plan(*(tasks[place] for place in shuffled))


def closure(checked: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in order(checked):
        found[item.id] = set(item.depends_on).union(*(found[name] for name in item.depends_on))
    return found


@given(plans())
def test_no_two_tasks_that_may_run_at_once_share_a_file(given_plan: Plan) -> None:
    checked = check_plan(given_plan, max_tasks=12)
    before = closure(checked)
    for one in checked.tasks:
        for other in checked.tasks:
            if one.id < other.id and any(overlap(a, b) for a in one.files for b in other.files):
                assert one.id in before[other.id] or other.id in before[one.id]
    for old, new in zip(given_plan.tasks, checked.tasks, strict=True):
        assert set(old.depends_on) <= set(new.depends_on)
    assert check_plan(checked, max_tasks=12) == checked


# ── scheduling ────────────────────────────────────────────────────────────────────────────────────────────────

DIAMOND = plan(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("e"))


def test_order_follows_the_list_where_it_may() -> None:
    assert [item.id for item in order(plan(task("b", "z"), task("a"), task("z")))] == ["a", "z", "b"]


def test_the_critical_length_counts_durations_and_guesses_the_unknown() -> None:
    assert critical(DIAMOND) == {"a": 3, "b": 2, "c": 2, "d": 1, "e": 1}
    assert critical(DIAMOND, {"b": 10, "c": 2})["a"] == 6 + 10 + 6


def test_ready_is_longest_path_first() -> None:
    assert [item.id for item in ready(DIAMOND, done=())] == ["a", "e"]
    assert [item.id for item in ready(DIAMOND, done=("a",), running=("e",))] == ["b", "c"]
    assert ready(DIAMOND, done=("a",), failed=("b",), running=("c", "e")) == []


def test_a_failure_dooms_all_that_depend_on_it_and_nothing_else() -> None:
    assert doomed(DIAMOND, ("b",)) == {"d"}
    assert doomed(DIAMOND, ("a",)) == {"b", "c", "d"}
    assert doomed(DIAMOND, ()) == set()


def test_the_frontier_walks_the_graph() -> None:
    frontier = Frontier(DIAMOND)
    assert frontier.take().id == "a"  # type: ignore[union-attr]
    assert frontier.take().id == "e"  # type: ignore[union-attr]
    assert frontier.take() is None
    assert frontier.done("a") == ()
    assert [frontier.take().id, frontier.take().id] == ["b", "c"]  # type: ignore[union-attr]
    assert frontier.failed("b") == ("d",)
    assert frontier.done("c") == ()
    assert frontier.take() is None
    assert frontier.left == 1


@given(plans(), st.randoms(use_true_random=False))
def test_the_frontier_settles_every_task_once(given_plan: Plan, random: object) -> None:
    frontier = Frontier(given_plan)
    done: set[str] = set()
    skipped: list[str] = []
    failed: list[str] = []
    while (item := frontier.take()) is not None:
        assert done.issuperset(item.depends_on)
        if random.random() < 0.2:  # type: ignore[attr-defined]
            failed.append(item.id)
            skipped += frontier.failed(item.id)
        else:
            done.add(item.id)
            frontier.done(item.id)
    assert frontier.left == 0
    assert sorted([*done, *failed, *skipped]) == sorted(item.id for item in given_plan.tasks)
    assert set(skipped) == doomed(given_plan, failed) - set(failed)
