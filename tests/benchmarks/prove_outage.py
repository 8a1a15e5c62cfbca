"""Proof: a provider that answers 529 for minutes in the middle of a queue costs time and fails no issue.

    python -m tests.benchmarks.prove_outage [--seconds 180] [--issues 6]

A real repository, the real program, a server on the Anthropic wire. From the second issue's first call on it answers
529 (overloaded) for that long. Prints what happened when; exits 1 unless every issue is done in its first run, none was
given back, and nothing was paid twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.models.script import Script
from tests.fakes.places import place, row, told, writes
from tests.wire import WireServer
from tests.wire.server import Given, WireRequest

CALLS = 2
"""Of an issue's run, undisturbed."""


@dataclass
class Overloaded:
    """Answers from a script, but for `seconds` from call number `begin` on."""

    seconds: float
    begin: int
    script: Script = field(default_factory=lambda: Script.model_validate({"replies": [writes()]}))
    served: int = 0
    refused: list[float] = field(default_factory=list)
    """When, by `time.monotonic()`."""

    def __call__(self, request: WireRequest) -> Given:
        now = time.monotonic()
        if self.served + 1 >= self.begin and (not self.refused or now < self.refused[0] + self.seconds):
            self.refused.append(now)
            return {"error": {"kind": "unavailable"}}
        self.served += 1
        found = self.script.find(request.facts)
        assert found is not None, self.script.missing(request.facts)
        return found


@dataclass(frozen=True)
class Survived:
    """What a queue came to, and what the server saw of it."""

    report: dict[str, Any]
    exit_code: int
    refused: int
    served: int
    seconds: float
    issues: tuple[dict[str, Any], ...]


def outage(base: Path, seconds: float, issues: int, **settings: Any) -> Survived:
    """Work off a queue in the new or empty folder `base` while the provider is overloaded for `seconds`."""
    names = [f"out-{number}" for number in range(issues)]
    server = Overloaded(seconds, begin=CALLS + 1)
    with WireServer(server) as wire:
        provider = {"base_url": f"{wire.url}/v1", "format": "anthropic", "api_key": "k"}
        own = {"models": {}, "providers": {"anthropic": provider}, "queue": {"parallel_issues": 1}, **settings}
        repo = place(base / "repo", [row(name) for name in names], [], **own).root
        argv = [sys.executable, "-m", "harness", "work", "--once", "--json", "--repo", str(repo)]
        began = time.monotonic()
        done = subprocess.Popen(argv, env=os.environ | {"HOME": str(base)}, stdout=subprocess.PIPE, text=True)
        answer, _ = done.communicate()
    return Survived(
        report=json.loads(answer),
        exit_code=done.returncode,
        refused=len(server.refused),
        served=server.served,
        seconds=time.monotonic() - began,
        issues=tuple(told(repo, name) for name in names),
    )


def verdicts(found: Survived, issues: int) -> list[tuple[bool, str]]:
    """Each claim, and whether it holds."""
    report = found.report
    lost = {name: report[name] for name in ("failed", "rejected", "released")}
    runs = [run["run"] for run in report["runs"]]
    labels = {label for issue in found.issues for label in issue.get("labels") or ()}
    return [
        (report["done"] == issues, f"{report['done']} of {issues} issues done"),
        (not any(lost.values()), ", ".join(f"{count} {name}" for name, count in lost.items())),
        (all(run.endswith("-r1") for run in runs), "every issue in its first run"),
        (not labels, f"labels on issues: {', '.join(labels) or 'none'}"),
        (found.refused > 0, f"{found.refused} calls were refused"),
        (found.served == CALLS * issues, f"{found.served} calls were answered; {CALLS * issues} are needed"),
        (found.exit_code == 0, f"exit code {found.exit_code}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--issues", type=int, default=6)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harness-outage-") as name:
        found = outage(Path(name), wanted.seconds, wanted.issues)
    print(f"{wanted.issues} issues, 529 for {wanted.seconds:g} s in between: {found.seconds:.0f} s in all")
    claims = verdicts(found, wanted.issues)
    for holds, claim in claims:
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    return 0 if all(holds for holds, _ in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
