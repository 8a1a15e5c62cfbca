"""The JSON Lines file: what is not concerned keeps its bytes, what is wrong is named by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.settings import Settings
from harness.errors import TrackerError
from harness.protocols import Wanted
from harness.trackers.book import Book
from harness.trackers.jsonl import JsonlTracker
from tests.contracts.tracker import an_issue

QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"

ONE = b'{"id": "bd-1", "title": "one",  "priority": 1, "zzz": {"b": 1, "a": [1.50]}, "status": "open"}\n'
TWO = b'{"priority":0,"id":"bd-2","title":"\\u00fc <two>","status":"open","future_field":null}\n'


@pytest.fixture
def tracker(tmp_path: Path) -> Callable[[bytes], JsonlTracker]:
    def write(data: bytes) -> JsonlTracker:
        path = tmp_path / ".beads" / "issues.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return JsonlTracker(Settings(root=tmp_path))

    return write


async def test_other_lines_keep_their_bytes(tracker: Callable[[bytes], JsonlTracker], tmp_path: Path) -> None:
    odd = b'\r\n{"id":"bd-3","title":"three"}\r\n\n'
    await tracker(ONE + odd + TWO).claim("bd-2", "me")
    path = tmp_path / ".beads" / "issues.jsonl"
    data = path.read_bytes()
    assert data.startswith(ONE + odd)
    row = json.loads(data[len(ONE + odd) :])
    assert row.pop("updated_at")
    assert row == json.loads(TWO) | {"status": "in_progress", "assignee": "me"}
    assert list(row)[:3] == ["priority", "id", "title"], "fields keep their order"
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["issues.jsonl"], "nothing is left behind"


async def test_a_last_line_without_end_and_the_files_mode(
    tracker: Callable[[bytes], JsonlTracker], tmp_path: Path
) -> None:
    keeper = tracker(ONE + TWO[:-1])
    path = tmp_path / ".beads" / "issues.jsonl"
    path.chmod(0o640)
    new = await keeper.file(an_issue("found"), "bd-2", "me")
    assert path.read_bytes().startswith(ONE + TWO)
    assert new.startswith("bd-") and (await keeper.get(new)).title == "found"
    assert path.stat().st_mode & 0o777 == 0o640


async def test_a_type_is_the_same_in_any_case(tracker: Callable[[bytes], JsonlTracker]) -> None:
    rows = b'{"id": "a", "title": "A", "issue_type": "Epic"}\n{"id": "b", "title": "B", "issue_type": "Molecule"}\n'
    assert [(issue.id, issue.type) for issue in await tracker(rows).ready(Wanted())] == [("a", "epic")]


async def test_a_refused_claim_writes_nothing(tracker: Callable[[bytes], JsonlTracker], tmp_path: Path) -> None:
    keeper = tracker(ONE + TWO)
    await keeper.claim("bd-1", "them")
    path = tmp_path / ".beads" / "issues.jsonl"
    before = path.stat()
    assert not await keeper.claim("bd-1", "me")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_change_by_somebody_else_is_seen(tracker: Callable[[bytes], JsonlTracker]) -> None:
    keeper = tracker(ONE)
    assert (await keeper.get("bd-1")).title == "one"
    tracker(ONE.replace(b'"one"', b'"won"'))
    assert (await keeper.get("bd-1")).title == "won"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{broken\n", "issues.jsonl:2: is not a JSON object"),
        (b"<<<<<<< HEAD\n", "issues.jsonl:2: is not a JSON object"),
        (b"[1]\n", "issues.jsonl:2: expected a JSON object, got list"),
        (b'{"title":"x"}\n', "issues.jsonl:2: id: expected text, got nothing"),
        (b'{"id":"bd-9","priority":"high"}\n', "issues.jsonl:2: priority: expected a whole number, got 'high'"),
        (b'{"id":"bd-9","labels":"a"}\n', "issues.jsonl:2: labels: expected a list, got 'a'"),
        (b'{"id":"bd-9","dependencies":["bd-1"]}\n', "issues.jsonl:2: dependencies and comments are lists of objects"),
        (b'{"id":"bd-1"}\n', "issues.jsonl:2: second issue 'bd-1'; it stands on line 1 already"),
        (b'{"id":"bd-9\xff"}\n', "issues.jsonl:2: is not a JSON object"),
    ],
)
async def test_a_bad_line_is_named_and_left(
    tracker: Callable[[bytes], JsonlTracker], tmp_path: Path, line: bytes, told: str
) -> None:
    keeper = tracker(ONE + line)
    with pytest.raises(TrackerError) as caught:
        await keeper.claim("bd-1", "me")
    assert told in str(caught.value)
    assert (tmp_path / ".beads" / "issues.jsonl").read_bytes() == ONE + line


async def test_no_file_tells_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"\.beads/issues\.jsonl: no such file"):
        await JsonlTracker(Settings(root=tmp_path)).ready(Wanted())


def _lines(*rows: dict[str, object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _after(target: str, kind: str = "blocks") -> dict[str, object]:
    return {"dependencies": [{"issue_id": "x", "depends_on_id": target, "type": kind}]}


@pytest.mark.parametrize(
    ("rows", "ready"),
    [
        ([{"id": "a"}, {"id": "b", **_after("a")}], ["a"]),
        ([{"id": "a", "status": "closed"}, {"id": "b", **_after("a")}], ["b"]),
        ([{"id": "a", "status": "tombstone"}, {"id": "b", **_after("a")}], ["b"]),
        ([{"id": "a", "status": "in_progress"}, {"id": "b", **_after("a")}], []),
        ([{"id": "b", **_after("gone")}], ["b"]),
        ([{"id": "a"}, {"id": "b", **_after("a", "related")}], ["a", "b"]),
        ([{"id": "a"}, {"id": "e", **_after("a")}, {"id": "c", **_after("e", "parent-child")}], ["a"]),
        ([{"id": "a", "assignee": "x"}, {"id": "b", "assignee": ""}], ["b"]),
        ([{"id": "a", "issue_type": "gate"}, {"id": "b", "issue_type": "bug"}], ["b"]),
        ([{"id": "a", "defer_until": "2999-01-01T00:00:00Z"}], []),
        ([{"id": "a", "defer_until": "2001-01-01T00:00:00Z"}], ["a"]),
        ([{"id": "a", **_after("b", "parent-child")}, {"id": "b", **_after("a", "parent-child")}], ["a", "b"]),
        ([{"id": "a", "status": "closed", "close_reason": "ok"}, {"id": "b", **_after("a", "conditional-blocks")}], []),
        (
            [
                {"id": "a", "status": "closed", "close_reason": "Failed"},
                {"id": "b", **_after("a", "conditional-blocks")},
            ],
            ["b"],
        ),
    ],
)
async def test_ready_follows_beads_rules(
    tracker: Callable[[bytes], JsonlTracker], rows: list[dict[str, object]], ready: list[str]
) -> None:
    assert [issue.id for issue in await tracker(_lines(*rows)).ready(Wanted())] == ready


@given(st.lists(st.binary(max_size=20)), st.booleans())
def test_reading_loses_no_byte(lines: list[bytes], ended: bool) -> None:
    rows = [b'{"id":"i%d","x":"%s"}' % (number, line.hex().encode()) for number, line in enumerate(lines)]
    data = b"\r\n\n".join(rows) + (b"\n" if ended else b"")
    assert Book.parse(Path("issues.jsonl"), data).text() == data


@pytest.mark.skipif(not QUEUE.exists(), reason="needs the real queue beside the checkout")
async def test_the_real_queue(tracker: Callable[[bytes], JsonlTracker], tmp_path: Path) -> None:
    data = QUEUE.read_bytes()
    keeper = tracker(data)
    ready = await keeper.ready(Wanted())
    rows = {row["id"]: row for row in map(json.loads, data.splitlines())}
    assert 50 < len(ready) < 311, "some of the 311 open issues are blocked or bookkeeping"
    assert all(rows[issue.id]["status"] == "open" for issue in ready)
    assert [issue.priority for issue in ready] == sorted(issue.priority for issue in ready)
    assert await keeper.claim(ready[0].id, "me")
    after = (tmp_path / ".beads" / "issues.jsonl").read_bytes().splitlines()
    assert sum(one != other for one, other in zip(data.splitlines(), after, strict=True)) == 1


def test_books_of_the_same_lines_share_them_and_change_their_own(tmp_path: Path) -> None:
    path = tmp_path / "issues.jsonl"
    read = Book.parse(path, ONE + TWO)
    mine = Book.parse(path, ONE + TWO, read)
    assert mine.find("bd-2") is read.find("bd-2"), "not read again"
    row = mine.find("bd-1")
    mine.change(row, status="in_progress", assignee="me")
    mine.comment(row, "Begun.", "me")
    mine.change(row, assignee=None)
    assert read.find("bd-1")["status"] == "open" and "comments" not in read.find("bd-1")
    changed = mine.find("bd-1")
    assert (
        changed["status"] == "in_progress" and changed["comments"][0]["text"] == "Begun." and "assignee" not in changed
    )
    again = Book.parse(path, mine.text())
    assert [again.find(one) for one in ("bd-1", "bd-2")] == [mine.find(one) for one in ("bd-1", "bd-2")]
