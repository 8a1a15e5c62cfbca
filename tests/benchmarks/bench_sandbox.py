"""What confinement costs: a command in each sandbox against the same command by itself.

    python -m tests.benchmarks.bench_sandbox [--rounds N]

Prints the median of N runs of `true`, of `python -c pass` and of `git status` in a worktree, in milliseconds, and the
ratio to running it bare in the same session.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from harness.config.settings import SandboxSettings
from harness.errors import SandboxError
from harness.proc import run
from harness.sandbox import Sandbox, detect

COMMANDS = ("true", "python -c pass", "git status --short")


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        worktree = await a_worktree(Path(folder))
        ways: dict[str, Callable[[str], Awaitable[object]]] = {
            "bare": lambda command: run(["bash", "-c", command], cwd=worktree)
        }
        for mode in ("none", "landlock", "bubblewrap"):
            try:
                ways[mode] = confined(await detect(SandboxSettings.model_validate({"mode": mode})), worktree)
            except SandboxError as error:
                print(f"{mode}: {error.message}")
        print(f"{'command':<22}" + "".join(f"{way:>22}" for way in ways))
        for command in COMMANDS:
            took = {way: await median(do, command, rounds) for way, do in ways.items()}
            cells = (f"{ms:>10.1f} ms ({ms / took['bare']:>5.1f}×)" for ms in took.values())
            print(f"{command:<22}" + "".join(f"{cell:>22}" for cell in cells))


def confined(sandbox: Sandbox, worktree: Path) -> Callable[[str], Awaitable[object]]:
    async def do(command: str) -> object:
        async with sandbox.scratch() as scratch:
            return await sandbox.run(command, worktree, scratch=scratch)

    return do


async def median(do: Callable[[str], Awaitable[object]], command: str, rounds: int) -> float:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        await do(command)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def a_worktree(folder: Path) -> Path:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    for args in (
        ["init", "-q", str(folder / "repo")],
        ["-C", str(folder / "repo"), *identity, "commit", "-q", "--allow-empty", "-m", "First"],
        ["-C", str(folder / "repo"), "worktree", "add", "-q", "--detach", str(folder / "tree")],
    ):
        done = await run(["git", *args], env=env)
        assert done.ok, done.output
    return folder / "tree"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    anyio.run(main, parser.parse_args().rounds)
