"""Forty tasks on two machines that are killed again and again: is anything lost, or done twice?

    python -m tests.benchmarks.kill_dbos DATABASE_URL [kills]

Real worker processes with clones of their own, SIGKILL at random moments until at least `kills` (50) have happened and
all tasks are done. The baseline is the tree that the same tasks make when nobody is killed.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import anyio
from pydantic import SecretStr

from harness.backends.dbos import DbosBackend
from harness.budget import Meter
from harness.config.settings import Settings
from harness.types import TaskResult
from tests.backends.test_dbos import Machines
from tests.benchmarks.bench_dbos import git, make_remote
from tests.contracts.backend import a_job

TASKS = 40


async def main(url: str, wanted: int = 50) -> None:
    folder = Path(tempfile.mkdtemp())
    remote = make_remote(folder)
    office = folder / "office"
    base = git(office, "rev-parse", "HEAD")
    machines = Machines(url, remote, folder)
    backend = await DbosBackend.start(Settings(database=SecretStr(url), root=office))
    results: dict[str, TaskResult] = {}
    source, kills, began = random.Random(11), 0, time.monotonic()
    seconds = 4.0 * wanted / TASKS

    async def ask(name: str) -> None:
        results[name] = await backend.run(a_job(name, base), Meter())

    async def supervise(name: str) -> None:
        nonlocal kills
        while len(results) < TASKS:
            process = await asyncio.to_thread(machines.start, 2, seconds, name, 10_000)
            await anyio.sleep(source.uniform(0.5, 1.6 * seconds))
            if len(results) < TASKS:
                process.kill()
                kills += 1
                await asyncio.to_thread(process.wait)

    async with anyio.create_task_group() as group:
        for number in range(TASKS):
            group.start_soon(ask, f"t{number}")
        for name in ("east", "west"):
            group.start_soon(supervise, name)
    taken = time.monotonic() - began
    finished_twice = sum(len(machines.lines(f"done {name} ")) > 1 for name in results)
    commits = {name: git(office, "rev-list", "--count", f"{base}..{result.commit}") for name, result in results.items()}
    right = sum(git(office, "show", f"{result.commit}:{name}.txt") == name for name, result in results.items())
    print(f"{kills} kills in {taken:.0f} s, {len(machines.lines('start '))} starts of {TASKS} tasks")
    print(f"done {sum(result.status == 'done' for result in results.values())}, lost {TASKS - len(results)}, "
          f"with exactly one commit {sum(count == '1' for count in commits.values())}, tree as it should be {right}, "
          f"finished more than once {finished_twice}")  # fmt: skip
    machines.stop()
    await backend.aclose()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], *map(int, sys.argv[2:]))
