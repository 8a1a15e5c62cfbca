"""Run verify commands and judge them against what failed before the work began."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from harness.proc import Completed
from harness.types import Check, Value

OUTPUT_CHARS = 6_000


class Confined(Protocol):
    """The part of a sandbox that verification needs."""

    async def run(
        self, command: str, worktree: Path, *, timeout: float | None = None, merge: bool = False
    ) -> Completed: ...


class Baseline(Value):
    """What the repository's own verify commands said on the base commit."""

    failing: dict[str, tuple[str, ...]] = {}
    """Command → names of its failing tests; empty names: it failed and says no names."""
    checks: tuple[Check, ...] = ()


_FAILING = (
    re.compile(r"^(?:FAILED|ERROR) (?!\()(\S+?)(?: - .*)?$", re.M),  # pytest -ra, -q; not unittest's FAILED (errors=2)
    re.compile(r"^(?:FAIL|ERROR): (\S+ \([\w.]+\))", re.M),  # unittest
    re.compile(r"^\s*--- FAIL: (\S+)", re.M),  # go test
    re.compile(r"^test (\S+) \.\.\. FAILED$", re.M),  # cargo test
    re.compile(r"^\s*(?:✕|✗|not ok \d+ -) (.+?)(?: \(\d+ ?ms\))?$", re.M),  # jest, mocha, TAP
)


def failing_tests(output: str) -> tuple[str, ...]:
    """Names of failing tests in the output of the common runners, sorted; empty when none can be read."""
    return tuple(sorted({match[1] for pattern in _FAILING for match in pattern.finditer(output)}))


async def run_checks(sandbox: Confined, commands: Iterable[str], worktree: Path, seconds: float) -> tuple[Check, ...]:
    """Each command once, in order, in the sandbox; all are run, so that one report tells all."""
    checks = []
    for command in dict.fromkeys(commands):
        done = await sandbox.run(command, worktree, timeout=seconds, merge=True)
        output = done.output
        if done.timed_out:
            output += f"\n(stopped after {seconds:.0f} s)"
        checks.append(
            Check(
                command=command,
                exit_code=done.exit_code,
                seconds=done.seconds,
                output=_tail(output),
                failing=failing_tests(output),
            )
        )
    return tuple(checks)


def baseline_of(checks: Sequence[Check]) -> Baseline:
    """The failures that no task is to be blamed for."""
    failing = {check.command: _names(check) for check in checks if check.exit_code != 0}
    return Baseline(failing=failing, checks=tuple(checks))


def judge(checks: Sequence[Check], baseline: Baseline, own: Iterable[str] = ()) -> tuple[Check, ...]:
    """The checks with known failures marked.

    A command that failed before is excused when it names its failing tests and none is new; when it names none, its
    failing again is no news. A task's `own` commands are what it promised, and are never excused.
    """
    promised = set(own)
    judged = []
    for check in checks:
        before = baseline.failing.get(check.command)
        excused = (
            check.exit_code != 0
            and before is not None
            and check.command not in promised
            and set(_names(check)) <= set(before)
            and (bool(before) == bool(_names(check)))
        )
        judged.append(check.model_copy(update={"known_failure": excused}))
    return tuple(judged)


def _names(check: Check) -> tuple[str, ...]:
    return check.failing or failing_tests(check.output)


def failures(checks: Iterable[Check]) -> str:
    """The failed checks as feedback for the next attempt; empty when all passed."""
    return "\n\n".join(
        f"$ {check.command}\n(exit code {check.exit_code})\n{check.output.strip()}" for check in checks if not check.ok
    )


def _tail(text: str) -> str:
    if len(text) <= OUTPUT_CHARS:
        return text
    return f"… {len(text) - OUTPUT_CHARS:,} characters left out …\n{text[-OUTPUT_CHARS:]}"
