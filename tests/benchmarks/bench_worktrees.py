"""What a task's worktree costs against `git worktree add` alone.

    python tests/benchmarks/bench_worktrees.py [files] [worktrees] [at once]

A repository of 5,000 files, 50 worktrees of it, made (and, shown apart, removed) one after the other and four at once,
or only as many at once as the third argument says.
The baseline is `git worktree add --detach` and `git worktree remove --force` on the same repository in the same run;
rounds alternate, so that a busy machine slows both. Processor time, git's and our own, stands beside wall time. The
repository is packed, as a clone is: each loose object costs a look into the door's own objects first.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from harness.proc import run
from harness.workspace import GitWorkspace

ROUNDS = 2
PARALLEL = 4


def make_repo(folder: Path, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        path = folder / f"d{number % 50}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"value = {number}\n" * 20)
    for args in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=b", "-c", "user.email=b", "commit", "-q", "-m", "x"),
        ("gc", "-q"),
    ):
        subprocess.check_call(["git", *args], cwd=folder)


class Clock:
    """Seconds spent making and removing, and of the whole: on the wall, and of the processor."""

    def __init__(self) -> None:
        self.made = self.removed = self.wall = self.used = 0.0


def used() -> float:
    """Processor seconds of this process and its children so far."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


async def plain(repo: Path, place: Path, clock: Clock, slots: anyio.CapacityLimiter, number: int) -> None:
    async with slots:
        began = time.perf_counter()
        await run(["git", "worktree", "add", "-q", "--detach", str(place / f"p{number}")], cwd=repo)
        clock.made += time.perf_counter() - began
        began = time.perf_counter()
        await run(["git", "worktree", "remove", "--force", str(place / f"p{number}")], cwd=repo)
        clock.removed += time.perf_counter() - began


async def ours(space: GitWorkspace, commit: str, clock: Clock, slots: anyio.CapacityLimiter, number: int) -> None:
    async with slots:
        began = time.perf_counter()
        async with space.worktree(f"bench/t{number}", commit):
            clock.made += time.perf_counter() - began
            began = time.perf_counter()
        clock.removed += time.perf_counter() - began


async def measure(files: int, worktrees: int, at_once: tuple[int, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repo"
        await anyio.to_thread.run_sync(make_repo, repo, files)
        space = await GitWorkspace.open(repo, Path(folder) / "cache")
        head = await space.resolve("HEAD")
        print(f"{files} files, {worktrees} worktrees; milliseconds each")
        print(f"{'at once':>8} {'':>22} {'make':>8} {'remove':>8} {'wall':>8} {'cpu':>8}")
        for parallel in at_once:
            clocks = {"git worktree": Clock(), "harness": Clock()}
            slots = anyio.CapacityLimiter(parallel)
            for _ in range(ROUNDS):
                for name, clock in clocks.items():
                    began, before = time.perf_counter(), used()
                    async with anyio.create_task_group() as group:
                        for number in range(worktrees // ROUNDS):
                            if name == "harness":
                                group.start_soon(ours, space, head, clock, slots, number)
                            else:
                                group.start_soon(plain, repo, Path(folder), clock, slots, number)
                    clock.wall += time.perf_counter() - began
                    clock.used += used() - before
            count = worktrees // ROUNDS * ROUNDS
            for name, clock in clocks.items():
                cells = (clock.made / count, clock.removed / count, clock.wall / count, clock.used / count)
                print(f"{parallel:>8} {name:>22} " + " ".join(f"{cell * 1000:>8.1f}" for cell in cells))
            base, mine = clocks["git worktree"], clocks["harness"]
            ratios = (mine.made / base.made, mine.removed / base.removed, mine.wall / base.wall, mine.used / base.used)
            print(f"{parallel:>8} {'ratio (target 1.3)':>22} " + " ".join(f"{ratio:>8.2f}" for ratio in ratios))


if __name__ == "__main__":
    files, worktrees, *at_once = [*map(int, sys.argv[1:]), *(5000, 50)[len(sys.argv) - 1 :]]
    anyio.run(measure, files, worktrees, tuple(at_once) or (1, PARALLEL))
