"""The Beads hooks: started by the real bd, quick, harmless, chained; and the spool that they fill."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from harness import proc, spool
from harness.config.settings import Settings
from harness.suggest import suggest
from harness.trackers import hooks
from harness.trackers.beads import BeadsTracker
from harness.types import Issue, RouteDecision
from tests.contracts.tracker import make


@pytest.fixture
def hooked(tmp_path: Path) -> Path:
    """A repository with our hooks and no bd."""
    (tmp_path / ".beads").mkdir()
    hooks.install(tmp_path, tmp_path / ".harness")
    return tmp_path


def call(repo: Path, issue_id: str, event: str = "on_create", stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [str(repo / ".beads" / "hooks" / event), issue_id, event.removeprefix("on_")]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)  # noqa: TID251 - as bd does


def events(repo: Path) -> tuple[str, ...]:
    return spool.drain(spool.folder(repo / ".harness"))


def test_many_events_of_an_issue_are_one(hooked: Path) -> None:
    for issue_id in ("bd-2", "bd-1", "bd-2", "cs-a.3"):
        assert call(hooked, issue_id, "on_update").returncode == 0
    assert sorted(events(hooked)) == ["bd-1", "bd-2", "cs-a.3"]
    assert events(hooked) == ()


@pytest.mark.parametrize("issue_id", ["", "../../evil", "a/b", ".hidden", "-rf *", "$(touch x)", "a\nb"])
def test_an_odd_id_is_no_event_and_no_failure(hooked: Path, issue_id: str) -> None:
    before = sorted(str(path) for path in hooked.rglob("*"))
    said = call(hooked, issue_id)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert sorted(str(path) for path in hooked.rglob("*")) == before


def test_nothing_it_meets_makes_it_fail(hooked: Path) -> None:
    spool.folder(hooked / ".harness").rmdir()
    assert call(hooked, "bd-1").returncode == 0
    (hooked / ".harness").rmdir()
    assert call(hooked, "bd-1").returncode == 0


def test_the_hook_that_was_there_runs_as_before(tmp_path: Path) -> None:
    folder = tmp_path / ".beads" / "hooks"
    folder.mkdir(parents=True)
    (folder / "on_create").write_text('#!/bin/sh\necho "$1 $2 $(cat)"; exit 7\n')
    (folder / "on_create").chmod(0o755)
    (folder / "on_update").write_text("not executable: bd passes it over\n")
    hooks.install(tmp_path, tmp_path / ".harness")
    said = call(tmp_path, "bd-1", stdin='{"id":"bd-1"}')
    assert (said.stdout, said.returncode) == ('bd-1 create {"id":"bd-1"}\n', 7)
    assert call(tmp_path, "bd-1", "on_update").returncode == 0
    assert events(tmp_path) == ("bd-1",)


def test_a_redirected_database_has_its_hooks_where_bd_looks(tmp_path: Path) -> None:
    rig, clone = tmp_path / "rig", tmp_path / "rig" / "crew" / "it's me"
    (rig / ".beads").mkdir(parents=True)
    (clone / ".beads").mkdir(parents=True)
    (clone / ".beads" / "redirect").write_text("../../.beads\n")
    hooks.install(clone, clone / ".harness")
    assert call(rig, "cs-1").returncode == 0
    assert events(clone) == ("cs-1",)
    assert hooks.installed(clone)
    assert hooks.remove(clone, clone / ".harness") and not (rig / ".beads" / "hooks").exists()


def test_an_event_during_a_drain_is_the_next_drains(tmp_path: Path) -> None:
    spool.put(tmp_path, "a")
    assert spool.drain(tmp_path) == ("a",)
    spool.put(tmp_path, "a")
    assert spool.drain(tmp_path) == ("a",)
    assert spool.drain(tmp_path / "none") == ()


@pytest.mark.needs_bd
@pytest.mark.parametrize("generation", ["bd-1", "bd-0"])
async def test_the_real_bd_starts_it(with_bd: Callable[[str], Path], generation: str) -> None:
    repo = with_bd(generation)
    hooks.install(repo, repo / ".harness")
    said = await proc.run(["bd", "create", "--title=Fix typo", "--labels=model:haiku", "--json"], cwd=repo)
    assert said.ok, said.output
    with anyio.fail_after(10):
        while not (found := spool.drain(spool.folder(repo / ".harness"))):
            await anyio.sleep(0.05)
    assert found[0].startswith("tt-") and found[0] in said.stdout


class OneTier:
    """A router that always says haiku."""

    def route(self, issue: Issue) -> RouteDecision:
        return RouteDecision(tier="haiku", model="a/b", pipeline="single", strategy="x", rule="x", reason="x")


@pytest.mark.needs_bd
async def test_a_suggestion_is_made_once_and_only_where_there_is_none(with_bd: Callable[[str], Path]) -> None:
    tracker = BeadsTracker(Settings(root=with_bd("bd-1")))
    bare = await make(tracker, "bare")
    labelled = await make(tracker, "labelled", labels=("model:opus",))
    closed = await make(tracker, "closed")
    await tracker.close(closed, "done", "w")
    ids = [bare, labelled, closed, "tt-gone", bare]
    assert [made[0] for made in await suggest(ids, tracker, OneTier(), "w")] == [bare]
    assert await suggest(ids, tracker, OneTier(), "w") == []
    assert (await tracker.get(bare)).labels == ("model:haiku",)
    assert (await tracker.get(labelled)).labels == ("model:opus",)
