"""What a cold start of `harness` costs, and each import on the way: `python -m tests.benchmarks.bench_route`.

The baseline is `python -c pass` of the same environment, measured in turns with the rest. Of each row the least of all
rounds counts: a busy machine only ever adds. Processor time stands beside wall time, because waiting for a processor
stretches only the latter. Modules are compiled beforehand, as they are in an installation.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROUNDS = 20
START = "import harness.cli"
ROUTE = ["-m", "harness", "route", "--title", "Fix typo in README", "--json"]


class Row(NamedTuple):
    name: str
    argv: list[str]
    settings: bool = False
    """Run in a repository with a harness.yaml."""


ROWS = (
    Row("python -c pass", ["-c", "pass"]),
    Row("import harness.cli", ["-c", START]),
    Row("… and pydantic's BaseModel", ["-c", f"{START}; from pydantic import BaseModel"]),
    Row("… and Field, SecretStr", ["-c", f"{START}; from pydantic import BaseModel, Field, SecretStr"]),
    Row("… and harness.types", ["-c", f"{START}; import harness.types"]),
    Row("… and harness.config.settings", ["-c", f"{START}; import harness.config.settings"]),
    Row("… and harness.routing.router", ["-c", f"{START}; import harness.routing.router"]),
    Row("harness route --json", ROUTE),
    Row("… with a harness.yaml", ROUTE, True),
    Row("harness --help", ["-m", "harness", "--help"]),
    Row("harness runs", ["-m", "harness", "runs", "--json"]),
    Row("harness stats", ["-m", "harness", "stats", "--json"]),
    Row("(not imported) yaml", ["-c", "import yaml"]),
    Row("(not imported) genai_prices", ["-c", "import genai_prices"]),
    Row("(not imported) networkx", ["-c", "import networkx"]),
)


def once(argv: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor milliseconds of one process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = _used(), time.perf_counter()
    subprocess.check_call([sys.executable, *argv], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000, (_used() - before) * 1000


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    times: dict[str, list[tuple[float, float]]] = {row.name: [] for row in ROWS}
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as configured:
        for folder in (bare, configured):
            subprocess.check_call(["git", "init", "-q", folder])
        (Path(configured) / "harness.yaml").write_text("version: 1\nverify: [make test]\nmax_parallel: 2\n")
        for number in range(ROUNDS + 1):
            for row in ROWS:
                found = once(row.argv, Path(configured if row.settings else bare))
                if number:
                    times[row.name].append(found)
    wall = {name: min(one for one, _ in found) for name, found in times.items()}
    used = {name: min(two for _, two in found) for name, found in times.items()}
    base, base_used = wall["python -c pass"], used["python -c pass"]
    print(f"{'':<32} {'wall ms':>8} {'ratio':>6} {'cpu ms':>8} {'ratio':>6}")
    for row in ROWS:
        ratios = wall[row.name] / base, used[row.name] / base_used
        print(f"{row.name:<32} {wall[row.name]:>8.1f} {ratios[0]:>6.1f} {used[row.name]:>8.1f} {ratios[1]:>6.1f}")


if __name__ == "__main__":
    main()
