"""A run that crashes at every journal step comes to the same end, and no call is paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import yaml

from harness import proc, registry
from harness.config.settings import Settings
from harness.engine import run_issue
from harness.errors import Interrupted
from harness.models.script import read_script
from harness.stop import Stop
from harness.types import Issue, Run
from tests.models.test_pipeline import EXPECTED, SCRIPT, TIERS, _file, repo, story
from tests.wire import WireServer

__all__ = ["repo"]
ISSUE = Issue(id="demo-1", title="Design two modules", labels=("pipeline:plan-execute-review", "security"))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.yaml"
    path.write_text(yaml.safe_dump(SCRIPT))
    return path


class Crash(Exception):
    """Stands for the power going off between two steps."""


def settings_for(root: Path, url: str) -> Settings:
    return Settings.model_validate(
        {
            "root": root,
            "tracker": {"kind": "jsonl"},
            "verify": ["python3 check.py"],
            "land": "merge",
            "providers": {"anthropic": {"base_url": f"{url}/v1", "format": "anthropic", "api_key": "k"}},
        }
    )


async def worked(settings: Settings, gate: Callable[[str], None]) -> Run:
    async with registry.build(settings, gate=gate) as deps:
        return await run_issue(ISSUE, deps, lambda name: registry.pipeline(name, settings), TIERS)


async def tree(root: Path, name: str = "main^{tree}") -> str:
    return (await proc.run(["git", "rev-parse", name], cwd=root)).stdout.strip()


def only_crashes(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(only_crashes(inner) for inner in error.exceptions)
    return isinstance(error, Crash)


@pytest.mark.timeout(180)
async def test_crashing_at_every_step_changes_nothing_and_pays_nothing_twice(repo: Path, script: Path) -> None:
    crashes = 0
    with WireServer(read_script(script)) as server:
        settings = settings_for(repo, server.url)
        await _file(settings, ISSUE)
        run = None
        while run is None:
            # Steps nest four deep (task, attempt, session, turn), so four lead to exactly one more inmost step.
            allowed = [None] * 4

            def gate(run_id: str, allowed: list[None] = allowed) -> None:
                if not allowed:
                    raise Crash
                allowed.pop()

            try:
                run = await worked(settings, gate)
            except (Crash, BaseExceptionGroup) as error:
                assert only_crashes(error)
                crashes += 1
                assert crashes < 80
        calls = len(server.calls)
    assert story(run) == EXPECTED
    assert calls == len(run.calls) == 8
    assert crashes >= 10
    assert run.landing is not None and run.landing.into == "main"
    shown = await proc.run(["git", "show", "main:one.py", "main:two.py"], cwd=repo)
    assert shown.stdout == "ONE = 1\nTWO = 2\n"


async def test_the_first_signal_stops_between_steps_and_the_run_goes_on_later(repo: Path, script: Path) -> None:
    with WireServer(read_script(script)) as server:
        settings = settings_for(repo, server.url)
        await _file(settings, ISSUE)
        stop, seen = Stop(settings.state), 0

        def gate(run_id: str) -> None:
            nonlocal seen
            seen += 1
            stop.requested = seen > 6
            stop.gate(run_id)

        first = await worked(settings, gate)
        assert first.status == "interrupted" and first.hint and "harness resume" in first.hint
        run = await worked(settings, lambda run_id: None)
        assert run.id == first.id and run.status == "done" and len(server.calls) == 8


async def test_a_cancelled_run_stops_at_its_next_step(repo: Path) -> None:
    stop = Stop(repo / ".harness")
    stop.cancel("demo-1-r1")
    with pytest.raises(Interrupted, match="cancelled"):
        stop.gate("demo-1-r1")
    stop.clear("demo-1-r1")
    stop.gate("demo-1-r1")


@pytest.mark.timeout(180)
async def test_sigkill_loses_nothing(repo: Path, script: Path) -> None:
    """The real program, killed the hard way again and again while it works; then left to finish."""
    with WireServer(read_script(script)) as server:
        settings = settings_for(repo, server.url)
        await _file(settings, ISSUE)
        (repo / "harness.yaml").write_text(
            yaml.safe_dump(
                {
                    "tracker": {"kind": "jsonl"},
                    "verify": ["python3 check.py"],
                    "providers": {"anthropic": {"base_url": f"{server.url}/v1", "format": "anthropic", "api_key": "k"}},
                }
            )
        )
        argv = [
            sys.executable,
            "-m",
            "harness",
            "run",
            "demo-1",
            "--pipeline",
            "plan-execute-review",
            "--worker",
            "haiku",
        ]
        argv += ["--reviewer", "opus", "--planner", "sonnet"]
        for delay in (1.2, 1.6, 2.0, 2.4, 2.8):
            process = subprocess.Popen(argv, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            await anyio.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            if process.returncode == 0:
                break
        done = await proc.run(argv, cwd=repo, timeout=90)
        paid = len(server.calls)
    assert done.exit_code == 0 or "closed" in done.stderr, done.output
    assert 7 <= paid <= 7 + 5, "at most the call in flight is paid again at each kill"
    shown = await proc.run(["git", "show", "harness/demo-1:one.py", "harness/demo-1:two.py"], cwd=repo)
    assert shown.stdout == "ONE = 1\nTWO = 2\n"
