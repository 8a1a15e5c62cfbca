"""Proof: a run of 40 tasks, killed with SIGKILL again and again at random moments, loses and pays nothing twice.

    python -m tests.benchmarks.prove_sigkill [--kills 50] [--tasks 40] [--seed 1]

A real repository, the real program, a scripted server on the Anthropic wire. The same run is first done undisturbed:
the final trees must be equal, every task must have exactly one result, and the calls beyond the undisturbed run's can
be no more than those in flight at a kill. Prints the figures; exits 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from harness.models.script import read_script
from tests.wire import WireServer

PARALLEL = 4


def script(tasks: int) -> dict[str, Any]:
    names = [f"t{number:02}" for number in range(tasks)]
    plan = [
        {"id": name, "title": f"Write {name}", "instructions": "Write it.", "files": [f"{name}.txt"],
         "depends_on": [names[number - 10]] if number >= 10 else []}
        for number, name in enumerate(names)
    ]  # fmt: skip
    replies: list[dict[str, Any]] = [{"when": {"phase": "plan"}, "json": {"summary": "Many files.", "tasks": plan}}]
    for name in names:
        write = {"name": "write", "input": {"path": f"{name}.txt", "content": f"{name}\n"}}
        turns = [{"tools": [write]}, {"tools": [{"name": "finish", "input": {"summary": f"{name} is there."}}]}]
        replies.append({"when": {"phase": "execute", "task": name}, "turns": turns})
    return {"replies": replies}


def git(root: Path, *argv: str) -> str:
    names = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    return subprocess.run(["git", *names, *argv], cwd=root, check=True, capture_output=True, text=True).stdout.strip()  # noqa: TID251


def repository(folder: Path, url: str) -> Path:
    root = folder / "repo"
    (root / ".beads").mkdir(parents=True)
    (root / "README.md").write_text("start\n")
    settings = {
        "tracker": {"kind": "jsonl"},
        "max_parallel": PARALLEL,
        "providers": {"anthropic": {"base_url": f"{url}/v1", "format": "anthropic", "api_key": "k"}},
    }
    row = {"id": "many-1", "title": "Many files", "status": "open", "priority": 2, "issue_type": "task"}
    (root / ".beads" / "issues.jsonl").write_text(json.dumps(row) + "\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "start")
    # Not committed: it names the server's port, and the trees of two runs are to be compared.
    (root / "harness.yaml").write_text(yaml.safe_dump(settings))
    return root


def start(root: Path, home: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "harness", "run", "many-1", "--pipeline", str(root / "many.yaml"), "--json"]
    (root / "many.yaml").write_text("phases: {1_planning: {max_tasks: 100}, 2_execution: {model: haiku}}\n")
    environment = os.environ | {"HOME": str(home)}
    return subprocess.Popen(argv, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def finished(root: Path) -> dict[str, int]:
    """Task → how many `result` steps its journal holds."""
    with sqlite3.connect(root / ".harness" / "journal.db") as db:
        rows = db.execute("SELECT key FROM steps WHERE key LIKE 'execute/%/result'").fetchall()
    counts: dict[str, int] = {}
    for (key,) in rows:
        counts[key.split("/")[1]] = counts.get(key.split("/")[1], 0) + 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    dice = random.Random(wanted.seed)
    trees, paid = {}, {}
    kills = rounds = 0
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "script.yaml").write_text(yaml.safe_dump(script(wanted.tasks)))
        for way in ("undisturbed", "killed"):
            with WireServer(read_script(base / "script.yaml")) as server:
                home = base / way / "home"
                home.mkdir(parents=True)
                root = repository(base / way, server.url)
                began = time.monotonic()
                if way == "undisturbed":
                    start(root, home).communicate()
                    whole = time.monotonic() - began
                while way == "killed":
                    rounds += 1
                    process = start(root, home)
                    # Early enough that 50 kills fit into one run: most work is done between two of them or not at all.
                    delay = dice.uniform(0.6, 2.6) if kills < wanted.kills else 600
                    try:
                        process.communicate(timeout=delay)
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        process.communicate()
                        kills += 1
                        continue
                    break
                paid[way] = len(server.calls)
            trees[way] = git(root, "rev-parse", "harness/many-1^{tree}")
            results = finished(root)
    lost = wanted.tasks - len(results)
    twice = sum(count - 1 for count in results.values())
    extra = paid["killed"] - paid["undisturbed"]
    same = trees["killed"] == trees["undisturbed"]
    print(f"tasks {wanted.tasks}, kills {kills}, starts {rounds}, undisturbed run {whole:.1f} s")
    print(f"lost tasks {lost}, finished tasks paid again {twice}, final tree {'identical' if same else 'DIFFERENT'}")
    print(f"calls: {paid['undisturbed']} undisturbed, {paid['killed']} killed: {extra} were in flight at a kill "
          f"(at most {kills * PARALLEL} can be)")  # fmt: skip
    return 0 if same and not lost and not twice and 0 <= extra <= kills * PARALLEL else 1


if __name__ == "__main__":
    raise SystemExit(main())
