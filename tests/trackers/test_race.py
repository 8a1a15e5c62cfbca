"""Ten processes want one issue: one gets it, and the other nine know that they have not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from harness import proc
from harness.protocols import Tracker
from tests.contracts.tracker import make

CLAIM = """
import sys, anyio
from pathlib import Path
from harness.config.settings import Settings
from {module} import {tracker}
async def main():
    won = await {tracker}(Settings(root=Path(sys.argv[1]))).claim(sys.argv[2], sys.argv[3])
    print("won" if won else "lost")
anyio.run(main)
"""


@pytest.mark.slow
async def test_ten_processes_claim_one_issue(open_tracker: Callable[[], Tracker], repo: Path) -> None:
    tracker = open_tracker()
    issue = await make(tracker, "work")
    script = CLAIM.format(module=type(tracker).__module__, tracker=type(tracker).__name__)
    ends: dict[str, proc.Completed] = {}

    async def race(actor: str) -> None:
        ends[actor] = await proc.run([sys.executable, "-c", script, str(repo), issue, actor])

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(race, f"worker-{number}")
    assert [end.stderr for end in ends.values() if not end.ok] == []
    assert sorted(end.stdout.strip() for end in ends.values()) == ["lost"] * 9 + ["won"]
    assert ends[(await tracker.get(issue)).assignee or ""].stdout.strip() == "won"
