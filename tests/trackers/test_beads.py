"""What bd says, in all its ways of saying it; a stand-in `bd` speaks where the real one would have to be broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import proc
from harness.config.settings import Settings
from harness.errors import IssueNotFound, MissingTool, TrackerError
from harness.protocols import Wanted
from harness.trackers.beads import BeadsTracker
from tests.contracts.tracker import an_issue, make

BOTH = pytest.mark.parametrize("generation", ["bd-1", "bd-0"])
WithBd = Callable[[str], Path]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BeadsTracker]:
    """A tracker over a `bd` that prints these words, whatever it is asked."""

    def make_bd(stdout: str = "", stderr: str = "", exit_code: int = 0) -> BeadsTracker:
        (tmp_path / "out").write_text(stdout)
        (tmp_path / "err").write_text(stderr)
        bd = tmp_path / "bd"
        bd.write_text(f"#!/bin/sh\ncat '{tmp_path}/out'; cat '{tmp_path}/err' >&2; exit {exit_code}\n")
        bd.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return BeadsTracker(Settings(root=tmp_path))

    return make_bd


ROW = {"id": "tt-1", "title": "t", "priority": 0, "status": "open", "issue_type": "task"}


@pytest.mark.parametrize("payload", [[ROW], {"schema_version": 1, "data": [ROW]}, {**ROW, "schema_version": 1}])
async def test_every_shape_of_an_answer_is_read(says: Callable[..., BeadsTracker], payload: object) -> None:
    found = await says(json.dumps(payload)).get("tt-1")
    assert (found.id, found.priority) == ("tt-1", 0)


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ('{"error": "no issues found matching the provided IDs"}', "", 1),
        ("", 'Error fetching tt-9: no issue found matching "tt-9"', 0),
        ("", '{"schema_version": 1, "data": {"error": "no issue found matching \\"tt-9\\""}}', 1),
    ],
)
async def test_not_found_in_every_form(
    says: Callable[..., BeadsTracker], stdout: str, stderr: str, exit_code: int
) -> None:
    with pytest.raises(IssueNotFound, match="no issue 'tt-9'"):
        await says(stdout, stderr, exit_code).get("tt-9")


async def test_a_refusal_quotes_the_reason_and_not_the_warnings(says: Callable[..., BeadsTracker]) -> None:
    tracker = says(stderr="⚠ Creating issue without description.\nError: disk is full\nUsage:\n", exit_code=1)
    with pytest.raises(TrackerError, match=r"^bd ready: disk is full$"):
        await tracker.ready(Wanted())


async def test_what_is_no_json_is_an_error(says: Callable[..., BeadsTracker]) -> None:
    with pytest.raises(TrackerError, match="bd ready"):
        await says("Welcome to bd!").ready(Wanted())
    with pytest.raises(TrackerError, match="something else than issues"):
        await says('["tt-1"]').ready(Wanted())


async def test_an_old_bd_is_told_apart(says: Callable[..., BeadsTracker]) -> None:
    with pytest.raises(TrackerError, match="too old: unknown flag: --unassigned") as caught:
        await says(stderr="Error: unknown flag: --unassigned\nUsage:", exit_code=1).ready(Wanted())
    assert "go install" in str(caught.value.hint)


async def test_no_bd_tells_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="'bd'") as caught:
        await BeadsTracker(Settings(root=tmp_path)).get("tt-1")
    assert "go install github.com/steveyegge/beads" in str(caught.value.hint)


@pytest.mark.needs_bd
@BOTH
async def test_no_database_tells_to_make_one(with_bd: WithBd, generation: str, tmp_path: Path) -> None:
    with_bd(generation)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrackerError, match="no Beads database") as caught:
        await BeadsTracker(Settings(root=tmp_path / "empty")).ready(Wanted())
    assert "bd init" in str(caught.value.hint)


@pytest.mark.needs_bd
async def test_the_envelope_of_the_real_bd(with_bd: WithBd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BD_JSON_ENVELOPE", "1")
    tracker = BeadsTracker(Settings(root=with_bd("bd-1")))
    issue = await make(tracker, "work")
    assert await tracker.claim(issue, "me")
    assert not await tracker.claim(issue, "them")
    await tracker.release(issue, "no luck", "me")
    assert [found.id for found in await tracker.ready(Wanted())] == [issue]
    with pytest.raises(IssueNotFound):
        await tracker.get("tt-nope")


@pytest.mark.needs_bd
@BOTH
async def test_comments_arrive_whole(with_bd: WithBd, generation: str) -> None:
    repo = with_bd(generation)
    tracker = BeadsTracker(Settings(root=repo))
    issue = await make(tracker, "work")
    long = "-- not an option\n" + "x" * 40_000
    await tracker.comment(issue, long, "me")
    await tracker.comment(issue, "key sk-ant-api03-" + "a" * 40, "me")
    comments = json.loads((await proc.run(["bd", "comments", issue, "--json"], cwd=repo)).stdout)
    assert [(entry["author"], entry["text"]) for entry in comments] == [("me", long), ("me", "key [redacted]")]


@pytest.mark.needs_bd
@BOTH
async def test_a_title_bd_would_refuse_is_shortened_and_kept(with_bd: WithBd, generation: str) -> None:
    tracker = BeadsTracker(Settings(root=with_bd(generation)))
    title = "two\nlines " + "xü" * 300
    found = await tracker.get(await tracker.file(an_issue(title, body="why", files=("a.py", "b.py")), "", "me"))
    assert found.title.startswith("two lines xü") and 497 <= len(found.title.encode()) <= 500
    assert " ".join(title.split()) in found.body and "Files: a.py, b.py" in found.body


@pytest.mark.needs_bd
@BOTH
async def test_a_suggestion_is_a_label_and_metadata_where_there_is_any(with_bd: WithBd, generation: str) -> None:
    tracker = BeadsTracker(Settings(root=with_bd(generation)))
    issue = await make(tracker, "work")
    await tracker.suggest(issue, "haiku", "me")
    found = await tracker.get(issue)
    assert found.labels == ("model:haiku",)
    assert found.metadata == ({"execution_suggested_model": "haiku"} if generation == "bd-1" else {})


@pytest.mark.needs_bd
@BOTH
async def test_metadata_is_kept_where_there_is_a_place_for_it(with_bd: WithBd, generation: str) -> None:
    tracker = BeadsTracker(Settings(root=with_bd(generation)))
    filed = an_issue("t", body="what", metadata={"run": "r1"})
    found = await tracker.get(await tracker.file(filed, "", "me"))
    assert (found.metadata, found.body) == (
        ({"run": "r1"}, "what") if generation == "bd-1" else ({}, 'what\n\nMetadata: {"run": "r1"}')
    )


@pytest.mark.needs_bd
@BOTH
async def test_everything_an_author_wrote_is_in_the_body(with_bd: WithBd, generation: str) -> None:
    repo = with_bd(generation)
    argv = [
        "bd",
        "create",
        "--title=t",
        "--description=what",
        "--design=how",
        "--acceptance=when",
        "--notes=so",
        "--json",
    ]
    made = json.loads((await proc.run(argv, cwd=repo)).stdout)
    found = await BeadsTracker(Settings(root=repo)).get(made["id"])
    assert found.body == "what\n\n## Design\n\nhow\n\n## Acceptance criteria\n\nwhen\n\n## Notes\n\nso"
