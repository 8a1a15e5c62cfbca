"""Proof: hundreds of issues in one `harness work` cost the last what they cost the first, and leave nothing behind.

    python -m tests.benchmarks.prove_soak [--issues 500] [--parallel 2]

A real repository, a JSON Lines queue, the real program and sandbox, a scripted model; every issue lands with a merge.
The process is looked at from outside whenever a run has ended. Prints a row for each tenth; exits 1 unless

- every issue is done,
- the last tenth's memory is within 10 % of the second tenth's (the first still loads what is loaded once),
- no open files and threads have been added between those two,
- nothing is left afterwards: worktrees, locks, processes, scratch folders.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.places import place, row, writes

TENTHS = 10
GROWTH = 1.10
"""How much more memory the last tenth may take than the second."""
KILOBYTE = 1024


@dataclass(frozen=True)
class Sample:
    """The process and what it has lying about, at the moment when its `issues`th run ended."""

    issues: int
    seconds: float
    cpu: float
    """Seconds that the process itself has computed, without the programs that it ran."""
    rss: float
    """Megabytes."""
    files: int
    """Open file descriptors."""
    threads: int
    children: int
    worktrees: int


@dataclass(frozen=True)
class Soaked:
    """What a soak came to."""

    samples: tuple[Sample, ...]
    report: dict[str, Any]
    errors: str
    left: tuple[str, ...]
    """What was there afterwards that should not be."""


def soak(base: Path, issues: int, parallel: int, told: Callable[[Sample], None] = lambda sample: None) -> Soaked:
    """Work off `issues` issues in the new or empty folder `base`, in one process, watched from outside."""
    home, temporary = base / "home", base / "tmp"
    for folder in (home, temporary):
        folder.mkdir(parents=True)
    names = [f"so-{number:04}" for number in range(issues)]
    repo = place(base / "repo", [row(name) for name in names], [writes(name) for name in names], land="merge").root
    argv = [sys.executable, "-m", "harness", "work", "--once", "--json", "--log-json", "--parallel", str(parallel)]
    argv += ["--repo", str(repo)]
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(temporary)}
    samples: list[Sample] = []
    errors: list[str] = []
    began = time.monotonic()
    with (
        (base / "report.json").open("w+") as answer,
        subprocess.Popen(argv, env=environment, stdout=answer, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if '"run.finished"' in line:
                samples.append(_sample(process.pid, home, len(samples) + 1, time.monotonic() - began))
                told(samples[-1])
            elif not line.startswith("{"):
                errors.append(line)
        process.wait()
        answer.seek(0)
        report = json.loads(answer.read() or "{}")
    return Soaked(tuple(samples), report, "".join(errors), tuple(_left(base, home, temporary)))


def _sample(pid: int, home: Path, issues: int, seconds: float) -> Sample:
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Sample(
        issues=issues,
        seconds=seconds,
        cpu=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        rss=int(told["VmRSS"].split()[0]) / KILOBYTE,
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(told["Threads"]),
        children=sum(len(path.read_text().split()) for path in Path(f"/proc/{pid}/task").glob("*/children")),
        worktrees=sum(1 for _ in _worktrees(home)),
    )


def _worktrees(home: Path) -> Iterator[Path]:
    """Checkouts, and git's own entries for them."""
    yield from (home / ".cache" / "harness").glob("worktrees/*/*")
    yield from (home / ".cache" / "harness").glob("git/*/worktrees/*")


def _left(base: Path, home: Path, temporary: Path) -> Iterator[str]:
    yield from (f"worktree {path.name}" for path in _worktrees(home))
    yield from (f"lock {path.name}" for path in (home / ".cache" / "harness").glob("git/*/locks/*"))
    yield from (f"in the temporary folder: {path.name}" for path in temporary.iterdir())
    yield from (f"claim {path.name}" for path in (base / "repo" / ".harness" / "claims").glob("*"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.readlink(process / "cwd").startswith(str(base))
            if inside or f"TMPDIR={temporary}".encode() in (process / "environ").read_bytes().split(b"\0"):
                yield f"process {process.name}"
        except OSError:  # it ended while we looked, or is somebody else's
            continue


def tenth(samples: tuple[Sample, ...], number: int) -> tuple[Sample, ...]:
    """The samples of the nth tenth, from 1."""
    size = len(samples) / TENTHS
    return samples[int((number - 1) * size) : int(number * size)]


def verdicts(soaked: Soaked, issues: int) -> list[tuple[bool, str]]:
    """Each claim, and whether it holds."""
    second, last = tenth(soaked.samples, 2), tenth(soaked.samples, TENTHS)
    growth = _mean(last, "rss") / _mean(second, "rss")
    # Programs that run at the moment of a look have pipes of their own: the lowest number is what stays.
    files = _lowest(last, "files") - _lowest(second, "files")
    threads = _lowest(last, "threads") - _lowest(second, "threads")
    done = int(soaked.report.get("done", 0))
    return [
        (done == issues, f"{done} of {issues} issues done"),
        (growth <= GROWTH, f"memory: last tenth {100 * (growth - 1):+.1f} % of the second"),
        (files <= 0, f"open files between them: {files:+}"),
        (threads <= 0, f"threads between them: {threads:+}"),
        (not soaked.left, f"left behind: {', '.join(soaked.left) or 'nothing'}"),
    ]


def _mean(samples: tuple[Sample, ...], name: str) -> float:
    return float(sum(getattr(sample, name) for sample in samples) / len(samples))


def _lowest(samples: tuple[Sample, ...], name: str) -> int:
    return int(min(getattr(sample, name) for sample in samples))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--issues", type=int, default=500)
    parser.add_argument("--parallel", type=int, default=2)
    wanted = parser.parse_args()
    if wanted.issues < 2 * TENTHS:
        parser.error(f"--issues: at least {2 * TENTHS}, so that a tenth is more than one")
    columns = ("RSS MB", "files", "threads", "children", "worktrees")
    each = ("ms/issue", "CPU ms")
    print(f"{'issues':>7} {'s':>7} " + " ".join(f"{name:>9}" for name in (*each, *columns)))
    with tempfile.TemporaryDirectory(prefix="harness-soak-") as name:
        every = wanted.issues // TENTHS
        since: list[Sample] = []

        def told(sample: Sample) -> None:
            since.append(sample)
            if sample.issues % every:
                return
            part = tuple(since[-every:])
            whole = 1000 * (sample.seconds - part[0].seconds) / (every - 1)
            own = 1000 * (sample.cpu - part[0].cpu) / (every - 1)
            print(
                f"{sample.issues:>7} {sample.seconds:>7.0f} {whole:>9.0f} {own:>9.0f} {_mean(part, 'rss'):>9.1f} "
                f"{_lowest(part, 'files'):>9} {_lowest(part, 'threads'):>9} {_lowest(part, 'children'):>9} "
                f"{_lowest(part, 'worktrees'):>9}",
                flush=True,
            )

        soaked = soak(Path(name), wanted.issues, wanted.parallel, told)
    print()
    if soaked.errors:
        print(soaked.errors)
    found = verdicts(soaked, wanted.issues)
    for holds, claim in found:
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    return 0 if all(holds for holds, _ in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
