"""The claim lock: one holder, freed by death, never taken by somebody who has stopped waiting."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from harness.errors import TrackerError
from harness.trackers.lock import held

HOLD = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


async def test_one_at_a_time_and_nothing_left_behind(tmp_path: Path) -> None:
    inside = 0
    most = 0

    async def enter() -> None:
        nonlocal inside, most
        async with held(tmp_path):
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0.01)
            inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(enter)
    assert most == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", HOLD, str(tmp_path)]) as holder:
        assert holder.stdout is not None
        assert (await holder.stdout.receive()).startswith(b"h")
        with pytest.raises(TrackerError, match="locked by another process"):
            async with held(tmp_path, timeout=0.1):
                pass
        holder.kill()
        await holder.wait()
    async with held(tmp_path, timeout=5):
        pass


async def test_who_stops_waiting_does_not_get_it(tmp_path: Path) -> None:
    async with held(tmp_path):
        with anyio.move_on_after(0.1) as scope:
            async with held(tmp_path):
                raise AssertionError("two holders")
        assert scope.cancelled_caught
    async with held(tmp_path, timeout=1):
        pass


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="none: No such file"):
        async with held(tmp_path / "none"):
            pass
