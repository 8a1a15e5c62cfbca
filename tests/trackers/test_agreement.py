"""bd and the JSON Lines tracker name the same issues ready, in the same order, in a real queue."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import proc
from harness.config.settings import Settings
from harness.protocols import Wanted
from harness.trackers.beads import BeadsTracker
from harness.trackers.jsonl import JsonlTracker

QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"


@pytest.mark.needs_bd
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not QUEUE.exists(), reason="needs the real queue beside the checkout")
async def test_ready_is_what_bd_says(with_bd: Callable[[str], Path], tmp_path: Path) -> None:
    # 0.47, which wrote this queue; newer ones refuse some of its issue types.
    with_bd("bd-0")
    repo = tmp_path / "queue"
    (repo / ".beads").mkdir(parents=True)
    shutil.copy(QUEUE, repo / ".beads" / "issues.jsonl")
    for argv in (["git", "init", "-q"], ["bd", "init", "--prefix=bd", "--from-jsonl", "--skip-hooks", "--quiet"]):
        said = await proc.run(argv, cwd=repo, timeout=50)
        assert said.ok, said.output
    # What bd holds after it, not what it was given: it drops what it takes for duplicates.
    exported = tmp_path / "export.jsonl"
    assert (await proc.run(["bd", "export", "--output", str(exported)], cwd=repo)).ok
    (tmp_path / "file" / ".beads").mkdir(parents=True)
    shutil.copy(exported, tmp_path / "file" / ".beads" / "issues.jsonl")

    by_bd = await BeadsTracker(Settings(root=repo)).ready(Wanted())
    by_file = await JsonlTracker(Settings(root=tmp_path / "file")).ready(Wanted())
    assert len(by_bd) > 50
    assert [issue.id for issue in by_file] == [issue.id for issue in by_bd]
    # An issue may have two parents; which one is told first is nobody's promise.
    unlike = {"source": "", "parent": None}
    assert [one.model_copy(update=unlike) for one in by_file] == [one.model_copy(update=unlike) for one in by_bd]
