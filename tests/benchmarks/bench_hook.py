"""What the Beads hook costs whoever types `bd create`: `python -m tests.benchmarks.bench_hook`.

The baseline is a hook that does nothing (`#!/bin/sh`), measured in the same run; the other is the same event written by
a bare Python, which the hook is not written in for this reason.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.trackers import hooks

ROUNDS = 200
PYTHON = "import pathlib,sys; pathlib.Path({!r}, sys.argv[1] + '.event').touch()"


def measure(argv: list[str]) -> float:
    """Milliseconds, median of all rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.check_call(argv, stdin=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / ".beads").mkdir()
        hooks.install(root, root / ".harness")
        nothing = root / "nothing"
        nothing.write_text("#!/bin/sh\nexit 0\n")
        nothing.chmod(0o755)
        python = shutil.which("python3", path="/usr/bin") or sys.executable
        rows = {
            "a hook that does nothing": [str(nothing)],
            "our hook": [str(root / ".beads" / "hooks" / "on_create"), "bd-1", "create"],
            "the same in python -I -S": [python, "-I", "-S", "-c", PYTHON.format(str(root)), "bd-1"],
        }
        measured = {name: measure(argv) for name, argv in rows.items()}
    base = measured["a hook that does nothing"]
    print(f"{'':<26} {'median ms':>10} {'ratio':>7}")
    for name, value in measured.items():
        print(f"{name:<26} {value:>10.2f} {value / base:>7.2f}")


if __name__ == "__main__":
    main()
