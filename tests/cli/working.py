"""`harness work` started as a user starts it: a process of its own, listened to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import proc


def command(repo: Path, *argv: str) -> list[str]:
    return [sys.executable, "-m", "harness", "work", *argv, "--repo", str(repo)]


def document(text: str) -> dict[str, Any]:
    """The one JSON document of a command's standard output."""
    found: dict[str, Any] = json.loads(text)
    return found


async def work(repo: Path, *argv: str, seconds: float = 60, **variables: str) -> tuple[int, dict[str, Any], str]:
    """One `harness work --json` from start to end: exit code, report, standard error."""
    done = await proc.run(command(repo, "--json", *argv), env={**os.environ, **variables}, timeout=seconds)
    return done.exit_code, document(done.stdout), done.stderr


class Worker:
    """A running `harness work --json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def hear(self, words: str) -> str:
        """The next line on standard error that has these words in it; fails when it ends before."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without '{words}': {''.join(self.said)}")

    def signal(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 20) -> tuple[int, dict[str, Any]]:
        """Its exit code and report, once it has ended by itself."""
        out, err = self.process.communicate(timeout=seconds)
        self.said.append(err)
        return self.process.returncode, document(out or "{}")


@contextmanager
def worker(repo: Path, *argv: str, **variables: str) -> Iterator[Worker]:
    """Start one; whatever happens it is dead afterwards."""
    process = subprocess.Popen(
        command(repo, "--json", *argv), env={**os.environ, **variables}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
