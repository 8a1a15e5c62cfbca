"""What a task costs besides its work, through PostgreSQL and a git remote; and what that means for 10,000 an hour.

    python -m tests.benchmarks.bench_dbos [tasks] [workers]

Tasks that only write one file and record what they did, on real worker processes with clones of their own, over a
PostgreSQL of its own. The baseline, in the same run, is the
same tasks on the local backend: the same worktree and commit without queue, lease and remote.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
import psycopg
from pydantic import SecretStr

from harness.backends.dbos import DbosBackend
from harness.backends.local import LocalBackend
from harness.budget import Meter
from harness.config.settings import Settings
from harness.protocols import Backend
from harness.types import Job, Task, TaskResult, TierPool
from harness.workspace import GitWorkspace
from tests.backends.conftest import private_cluster

WORKER = Path(__file__).parents[1] / "backends" / "a_worker.py"
SLOTS = 2
"""Of one worker, as `a_worker.py` has them."""
HOURLY = 10_000


def git(folder: Path, *args: str) -> str:
    return subprocess.check_output(
        ["git", "-c", "user.name=b", "-c", "user.email=b", *args], cwd=folder, text=True
    ).strip()


def make_remote(folder: Path) -> Path:
    git(folder, "init", "-q", "--bare", "-b", "main", "far.git")
    git(folder, "clone", "-q", "far.git", "office")
    (folder / "office" / "a.txt").write_text("x")
    git(folder / "office", "add", "-A")
    git(folder / "office", "commit", "-q", "-m", "x")
    git(folder / "office", "push", "-q", "origin", "HEAD:main")
    return folder / "far.git"


def job(base: str, number: int) -> Job:
    pool = TierPool(tier="haiku", models=("a/b",))
    task = Task(id=f"t{number}", title="t")
    return Job(run_id="bench", issue_id="i", task=task, base=base, ladder=(pool,), executor="none", affinity="a")


async def seconds_for(backend: Backend, base: str, tasks: int) -> float:
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(backend.run, job(base, number), Meter())
    return time.perf_counter() - began


async def local(folder: Path, base: str, tasks: int, slots: int) -> float:
    space = await GitWorkspace.open(folder / "office", folder / "cache-local")

    async def do(job: Job, meter: Meter) -> TaskResult:
        async with space.worktree(f"bench/{job.task.id}", job.base) as path:
            (path / f"{job.task.id}.txt").write_text("x")
            commit = await space.commit(path, job.base, "x")
        return TaskResult(task_id=job.task.id, status="done", commit=commit)

    return await seconds_for(LocalBackend(do, slots), base, tasks)


async def far(folder: Path, url: str, base: str, tasks: int, workers: int) -> float:
    processes = []
    for number in range(workers):
        place = folder / f"machine{number}"
        git(folder, "clone", "-q", str(folder / "far.git"), str(place))
        argv = [url, place, folder / f"cache{number}", folder / "ledger", "30", "0", "9"]
        processes.append(subprocess.Popen([sys.executable, WORKER, *map(str, argv)], stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    backend = await DbosBackend.start(Settings(database=SecretStr(url), root=folder / "office"))
    taken = await seconds_for(backend, base, tasks)
    for process in processes:
        process.kill()
        process.wait()
    await backend.aclose()
    return taken


async def main(tasks: int = 100, workers: int = 2) -> None:
    with private_cluster() as cluster:
        await measure(f"{cluster.url}/postgres", tasks, workers)


async def measure(url: str, tasks: int, workers: int) -> None:
    folder = Path(tempfile.mkdtemp())
    make_remote(folder)
    base = git(folder / "office", "rev-parse", "HEAD")
    here = await local(folder, base, tasks, workers * SLOTS)
    there = await far(folder, url, base, tasks, workers)
    with psycopg.connect(url) as db:
        row = db.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    slots = workers * SLOTS
    print(f"{tasks} tasks, {workers} workers of {SLOTS} slots, all on this machine")
    print(f"{'':>8} {'tasks/s':>9} {'s per slot and task':>20}")
    for name, taken in (("local", here), ("dbos", there)):
        print(f"{name:>8} {tasks / taken:>9.2f} {taken * slots / tasks:>20.3f}")
    print(f"   ratio {there / here:>9.2f}")
    overhead = there * slots / tasks
    print(f"\n{HOURLY:,} tasks an hour are {HOURLY / 3600:.2f} a second; at {overhead:.2f} s overhead a task they need")
    for work in (30, 120, 600):
        print(f"{work:>6} s of work a task: {HOURLY / 3600 * (work + overhead):>7.0f} slots")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"scheduler's peak memory {peak:.0f} MB; database {row[0] / 2**20:.0f} MB")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    anyio.run(partial(main, *map(int, sys.argv[1:])))
