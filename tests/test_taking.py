"""One issue taken by hand: what its tracker is told, and whose claims are respected."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from harness import registry
from harness.config.settings import Settings
from harness.errors import ModelAuthError, TrackerError, UnknownName
from harness.taking import STUCK, take_issue
from harness.types import Run
from tests.fakes.places import fails, place, refuses, row, told, writes


async def taken(settings: Settings, issue_id: str = "a") -> Run:
    async with registry.build(settings) as deps:
        return await take_issue(issue_id, deps, partial(registry.pipeline, settings=settings))


async def test_failures_by_hand_count_as_the_queues_do(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a")], [fails("a")])
    assert (await taken(settings)).status == "failed"
    assert told(settings.root, "a")["labels"] == ["harness:failed"]
    assert (await taken(settings)).id == "a-r2"
    issue = told(settings.root, "a")
    assert STUCK in issue["labels"] and issue["status"] == "open"
    assert "a-r2: failed: " in issue["comments"][-1]["text"] and "attempt 2 of 2" in issue["comments"][-1]["text"]


async def test_trouble_is_raised_and_is_no_fault_of_the_issue(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b", labels=["pipeline:nonesuch"])], [refuses("auth")])
    with pytest.raises(ModelAuthError):
        await taken(settings)
    with pytest.raises(UnknownName, match="nonesuch"):
        await taken(settings, "b")
    for name, said in (("a", "refused the key"), ("b", "nonesuch")):
        issue = told(settings.root, name)
        assert issue["status"] == "open" and not {"harness:failed", STUCK} & set(issue.get("labels") or ())
        assert said in (issue.get("comments") or [{"text": said}])[-1]["text"]
    assert "scripted error" not in told(settings.root, "a")["comments"][-1]["text"], "the cure is the user's alone"


async def test_a_claim_is_taken_over_from_the_dead_alone(tmp_path: Path) -> None:
    dead = f"{registry.actor_name().rpartition(':')[0]}:{2**22 + 1}-abcd"
    rows = [row(name, status="in_progress", assignee=who) for name, who in (("a", dead), ("b", "ann"))]
    settings = place(tmp_path / "repo", rows, [writes()])
    assert (await taken(settings)).accepted
    with pytest.raises(TrackerError, match="b is claimed by ann"):
        await taken(settings, "b")
    assert told(settings.root, "b")["assignee"] == "ann"
