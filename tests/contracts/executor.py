"""What every Executor promises, whoever does the work.

A test module derives from ExecutorContract and provides the fixture `executor_that`: deed → an executor whose agent
does just that in the worktree of `bench`:

    fixes     runs FIX in a shell, then says FIXED
    stalls    runs a command for the seconds that the deed names after a colon, far longer than any test
    leaks     writes its shell's environment, and what it can see of the home, into `seen.txt`, then says FIXED
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import anyio
import pytest

from harness.protocols import Executor
from harness.types import Budget, total
from tests.executors.conftest import Bench
from tests.sandbox.conftest import alive, gone

FIX = "sed -i s/Helo/Hello/ greet.py"
FIXED = "Fixed the greeting."
LEAK = "env > seen.txt; ls -A ~ >> seen.txt; cat /proc/*/environ >> seen.txt 2>/dev/null; true"
KEY = "sk-ant-the-real-key-0123456789"

ExecutorThat = Callable[[str], Executor]


def command_of(deed: str) -> str:
    """The shell command behind a deed."""
    name, _, argument = deed.partition(":")
    return {"fixes": FIX, "leaks": LEAK, "stalls": f"timeout {argument} tail -f /dev/null"}[name]


class ExecutorContract:
    async def test_work_is_in_the_worktree_and_counted_once(self, bench: Bench, executor_that: ExecutorThat) -> None:
        session = bench.session()
        worked = await executor_that("fixes").work(session)
        assert worked.outcome == "finished", worked.error
        assert FIXED in worked.summary and len(worked.summary) <= session.job.limits.summary_chars
        assert await bench.passes()
        assert total(worked.calls) == session.meter.usage
        for call in worked.calls:
            assert (call.phase, call.task_id, call.attempt, call.tier) == ("execute", "t1", 1, "haiku")

    async def test_a_used_up_budget_begins_nothing(self, bench: Bench, executor_that: ExecutorThat) -> None:
        worked = await executor_that("fixes").work(bench.session(budget=Budget(usd=Decimal(0))))
        assert worked.outcome == "budget" and worked.calls == ()
        assert not await bench.passes()

    async def test_time_is_up_and_nothing_runs_on(self, bench: Bench, executor_that: ExecutorThat) -> None:
        seconds = f"600.{id(bench)}"
        with anyio.fail_after(18):
            worked = await executor_that(f"stalls:{seconds}").work(bench.session(budget=Budget(seconds=5)))
        assert worked.outcome in ("limit", "budget")
        assert await gone(f"timeout\0{seconds}")

    async def test_a_cancelled_session_leaves_nothing_running(self, bench: Bench, executor_that: ExecutorThat) -> None:
        seconds = f"700.{id(bench)}"
        executor = executor_that(f"stalls:{seconds}")
        with anyio.fail_after(18):
            async with anyio.create_task_group() as group:
                group.start_soon(executor.work, bench.session())
                while not alive(f"timeout\0{seconds}"):
                    await anyio.sleep(0.05)
                group.cancel_scope.cancel()
        assert await gone(f"timeout\0{seconds}")

    async def test_neither_key_nor_home_is_seen(
        self, bench: Bench, executor_that: ExecutorThat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        worked = await executor_that("leaks").work(bench.session())
        assert worked.outcome == "finished", worked.error
        seen = (bench.path / "seen.txt").read_text(errors="replace")
        assert KEY not in seen and "HOME=" in seen

    async def test_watchers_see_turns(self, bench: Bench, executor_that: ExecutorThat) -> None:
        executor = executor_that("fixes")
        worked = await executor.work(bench.session())
        if worked.calls:
            turns = [event for event in bench.events if event.kind == "task.turn"]
            assert turns and all(event.task_id == "t1" and event.data["tier"] == "haiku" for event in turns)
