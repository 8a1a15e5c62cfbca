"""What gt says, in the forms of both its generations, and where an issue belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.settings import Settings
from harness.errors import HarnessError, IssueNotFound, MissingTool, TrackerError
from harness.protocols import Wanted
from harness.trackers.gastown import Convoy, ConvoyTracker, Town, find_town, in_order, read_convoy
from harness.trackers.jsonl import JsonlTracker
from harness.types import Issue
from tests.contracts.tracker import make

OLD = '{"id": "hq-cv-a", "title": "T", "status": "open", "tracked": [{"id": "cs-1", "title": "x", "status": "open"}]}'
NEW = '{"id": "hq-cv-a", "title": "T", "status": "open", "owned": false, "tracked": [{"id": "cs-1", "status": ""}]}'


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    def make(stdout: str, stderr: str) -> Path:
        (tmp_path / "out").write_text(stdout)
        (tmp_path / "err").write_text(stderr)
        program = tmp_path / "gt"
        program.write_text(f"#!/bin/sh\ncat '{tmp_path}/out'; cat '{tmp_path}/err' >&2; [ ! -s '{tmp_path}/err' ]\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path

    return make


@pytest.mark.parametrize("text", [OLD, NEW])
async def test_a_convoy_of_either_generation(says: Callable[[str, str], Path], text: str) -> None:
    convoy = await read_convoy("hq-cv-a", says(text, ""))
    assert (convoy.id, convoy.title, convoy.tracked) == ("hq-cv-a", "T", ("cs-1",))


@pytest.mark.parametrize(
    "complaint", ["Error: parsing convoy data: unexpected end of JSON input", "Error: convoy 'hq-cv-a' not found"]
)
async def test_no_such_convoy(says: Callable[[str, str], Path], complaint: str) -> None:
    with pytest.raises(IssueNotFound, match="no convoy 'hq-cv-a'"):
        await read_convoy("hq-cv-a", says("", complaint))


@pytest.mark.parametrize(
    ("version", "error", "cure"),
    [("0.5.0", MissingTool, "apt-get install sqlite3"), ("1.0.1", TrackerError, "gt convoy add hq-cv-a")],
)
@pytest.mark.parametrize("tracked", ["[]", "null"])
async def test_a_convoy_of_which_gt_sees_nothing_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, error: type[HarnessError], cure: str, tracked: str
) -> None:
    program = tmp_path / "gt"
    empty = f'{{"id": "hq-cv-a", "title": "T", "status": "open", "tracked": {tracked}}}'
    program.write_text(f"#!/bin/sh\n[ $1 = version ] && echo 'gt version {version} (dev)' || echo '{empty}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(error) as caught:
        await read_convoy("hq-cv-a", tmp_path)
    assert cure in str(caught.value.hint)


async def test_another_refusal_is_quoted(says: Callable[[str, str], Path]) -> None:
    with pytest.raises(TrackerError, match="gt convoy status: not in a Gas Town workspace"):
        await read_convoy("hq-cv-a", says("", "Warning: old\nError: not in a Gas Town workspace\nUsage:"))


async def test_no_gt_tells_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool) as caught:
        await read_convoy("hq-cv-a", tmp_path)
    assert "go install github.com/steveyegge/gastown" in str(caught.value.hint)


def test_an_issue_is_the_rigs_with_the_longest_prefix(tmp_path: Path) -> None:
    town = Town(root=tmp_path, routes={"hq-": ".", "cs-": "csm", "cs-x-": "other/mayor/rig"})
    assert [town.rig_of(name) for name in ("cs-1", "cs-x-1", "hq-cv-1", "zz-1")] == ["csm", "other", None, None]
    assert [town.rig_at(tmp_path / name) for name in ("csm/crew/me", "mayor", ".")] == ["csm", None, None]
    assert town.rig_at(tmp_path.parent) is None


def test_a_broken_route_is_named(tmp_path: Path) -> None:
    (tmp_path / "mayor").mkdir()
    (tmp_path / "mayor" / "town.json").touch()
    (tmp_path / ".beads").mkdir()
    (tmp_path / ".beads" / "routes.jsonl").write_text('{"prefix":"a-","path":"."}\nnope\n')
    with pytest.raises(TrackerError, match=r"routes\.jsonl:2"):
        find_town(tmp_path)


@pytest.fixture
def inner(tmp_path: Path) -> JsonlTracker:
    (tmp_path / ".beads").mkdir()
    (tmp_path / ".beads" / "issues.jsonl").touch()
    return JsonlTracker(Settings(root=tmp_path))


async def test_what_befalls_a_convoy_befalls_its_members(inner: JsonlTracker) -> None:
    first = await make(inner, "first", priority=3, labels=("security", "complexity:trivial", "model:haiku"))
    second = await make(inner, "second", priority=0, blocked_by=(first,), labels=("ui", "harness:failed"))
    tracker = ConvoyTracker(Convoy(id="hq-cv-a", title="Both"), [first, second], inner)
    epic = await tracker.get("hq-cv-a")
    assert (epic.type, epic.priority, epic.title) == ("epic", 0, "Both")
    assert epic.labels == ("security", "ui"), "risk concerns all; a member's size, model and history do not"
    assert first in epic.body and second in epic.body
    assert {child.id: child.blocked_by for child in await tracker.children("hq-cv-a")} == {first: (), second: (first,)}
    assert await tracker.claim("hq-cv-a", "me")
    assert {(await inner.get(issue)).assignee for issue in (first, second)} == {"me"}
    await tracker.release("hq-cv-a", "no luck", "me", ("harness:failed",))
    assert {(await inner.get(issue)).status for issue in (first, second)} == {"open"}
    found = await tracker.file(Issue(id="", title="found"), "hq-cv-a", "me")
    assert (await inner.get(found)).blocked_by == ()
    await tracker.close("hq-cv-a", "done", "me")
    assert await tracker.children("hq-cv-a") == []


async def test_a_convoy_is_claimed_whole_or_not_at_all(inner: JsonlTracker) -> None:
    first, second = await make(inner, "first"), await make(inner, "second")
    await inner.claim(second, "somebody")
    tracker = ConvoyTracker(Convoy(id="hq-cv-a", title="Both"), [first, second], inner)
    assert not await tracker.claim("hq-cv-a", "me")
    assert (await inner.get(first)).assignee is None
    assert (await inner.get(second)).assignee == "somebody"


async def test_other_issues_pass_through(inner: JsonlTracker) -> None:
    member, other = await make(inner, "member"), await make(inner, "other")
    tracker = ConvoyTracker(Convoy(id="hq-cv-a", title=""), [member], inner)
    assert await tracker.claim(other, "me")
    assert (await tracker.get(other)).assignee == "me" and (await inner.get(member)).assignee is None
    assert await tracker.children(other) == []
    assert [issue.id for issue in await tracker.ready(Wanted())] == [member]


@given(st.lists(st.sets(st.integers(0, 9)), max_size=10))
def test_members_come_after_their_blockers(blockers: list[set[int]]) -> None:
    issues = [
        Issue(id=str(number), title="x", blocked_by=tuple(str(other) for other in above if other < number))
        for number, above in enumerate(blockers)
    ]
    placed = [issue.id for issue in in_order(issues[::-1])]
    assert sorted(placed) == sorted(issue.id for issue in issues)
    assert all(placed.index(one) < placed.index(issue.id) for issue in issues for one in issue.blocked_by)
