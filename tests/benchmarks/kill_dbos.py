"""Proof: a run of 40 tasks over machines that are killed again and again loses nothing and pays no finished work twice.

    python -m tests.benchmarks.kill_dbos [--kills 50] [--tasks 40] [--seed 1] [--seconds 2.5]

The real programs (`harness run --backend dbos`, two `harness worker`), each with its own clone, cache and home; a real
PostgreSQL of its own; a scripted server on the Anthropic wire, whose calls take `--seconds`. The same run is first done
undisturbed, with quick calls. Then SIGKILL at random moments, of workers and now and then of the scheduler, and
everybody is started again. A trigger in the database keeps when each step was recorded: a model call that arrives after
its answer was recorded, or after its task's result was, has been paid for twice. Prints the figures; exits 1 when a
claim fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from harness.models.script import read_script
from tests.backends.conftest import Cluster, private_cluster
from tests.benchmarks.prove_sigkill import git
from tests.wire import WireServer

SLOTS = 4
WATCH = """
CREATE SCHEMA harness;
CREATE TABLE public.recorded (key text, worker text, at double precision);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.recorded VALUES (NEW.key, NEW.worker, extract(epoch FROM clock_timestamp()));
   RETURN NEW; END';
"""
TRIGGER = "CREATE TRIGGER note AFTER INSERT ON harness.steps FOR EACH ROW EXECUTE FUNCTION public.note()"


def script(tasks: int, seconds: float) -> dict[str, Any]:
    """A plan of many tasks, each of five paid turns, the last of which says that it is finished."""
    names = [f"t{number:02}" for number in range(tasks)]
    plan = [
        {"id": name, "title": f"Write {name}", "instructions": "Write it.", "files": [f"{name}.txt"],
         "verify": [f"test $(wc -l < {name}.txt) = 4"], "depends_on": [names[number - 20]] if number >= 20 else []}
        for number, name in enumerate(names)
    ]  # fmt: skip
    replies: list[dict[str, Any]] = [{"when": {"phase": "plan"}, "json": {"summary": "Many files.", "tasks": plan}}]
    for name in names:
        # Adding to the file, not writing it: a turn that was lost or done twice shows in the tree.
        adds = [{"name": "bash", "input": {"command": f"echo {name} {turn} >> {name}.txt"}} for turn in range(1, 5)]
        turns: list[dict[str, Any]] = [{"tools": [add], "seconds": seconds} for add in adds]
        turns.append({"tools": [{"name": "finish", "input": {"summary": f"{name} is there."}}], "seconds": seconds})
        replies.append({"when": {"phase": "execute", "task": name}, "turns": turns})
    return {"replies": replies}


@dataclass
class Site:
    """A remote, a scheduler's clone and workers' clones."""

    folder: Path
    database: str
    url: str
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def begin(self) -> None:
        git(self.folder, "init", "-q", "--bare", "-b", "main", "far.git")
        for name in ("office", "east", "west"):
            git(self.folder, "clone", "-q", "far.git", name)
            if name == "office":
                (self.folder / name / "README.md").write_text("start\n")
                git(self.folder / name, "checkout", "-q", "-b", "main")
                git(self.folder / name, "add", ".")
                git(self.folder / name, "commit", "-qm", "start")
                git(self.folder / name, "push", "-q", "origin", "main")
            settings = {
                "tracker": {"kind": "jsonl"},
                "lease_seconds": 3,
                "models": {"max_concurrent": 64},
                "providers": {"anthropic": {"base_url": f"{self.url}/v1", "format": "anthropic", "api_key": "k"}},
            }
            (self.folder / name / "harness.yaml").write_text(yaml.safe_dump(settings))
            (self.folder / f"home-{name}").mkdir()
        (self.office / ".beads").mkdir()
        row = {"id": "many-1", "title": "Many files", "status": "open", "priority": 2, "issue_type": "task"}
        (self.office / ".beads" / "issues.jsonl").write_text(json.dumps(row) + "\n")
        (self.office / "many.yaml").write_text("phases: {1_planning: {max_tasks: 100}, 2_execution: {model: haiku}}\n")

    @property
    def office(self) -> Path:
        return self.folder / "office"

    def start(self, name: str) -> subprocess.Popen[str]:
        scheduler = ["run", "many-1", "--pipeline", str(self.office / "many.yaml"), "--backend", "dbos", "--json",
                     "--max-parallel", str(2 * SLOTS), "--land", "merge"]  # fmt: skip
        argv = scheduler if name == "office" else ["worker", "--parallel", str(SLOTS)]
        environment = os.environ | {"HOME": str(self.folder / f"home-{name}"), "HARNESS_DATABASE_URL": self.database}
        with (self.folder / f"{name}.log").open("a") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "harness", *argv], cwd=self.folder / name, env=environment,
                stdout=log, stderr=log, text=True,
            )  # fmt: skip
        self.running[name] = made
        return made

    def served(self, name: str) -> int:
        """How often a worker of that name has come to serve."""
        return (self.folder / f"{name}.log").read_text().count("serving ")

    def stop(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def tree(self) -> str:
        return git(self.office, "rev-parse", "main^{tree}")


@contextmanager
def site(cluster: Cluster, folder: Path, name: str, replies: Path) -> Iterator[tuple[Site, WireServer, str]]:
    with psycopg.connect(f"{cluster.url}/postgres", autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    database = f"{cluster.url}/{name}"
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(WATCH)
    (folder / name).mkdir()
    with WireServer(read_script(replies)) as server:
        made = Site(folder / name, database, server.url)
        made.begin()
        try:
            yield made, server, database
        finally:
            made.stop()


def watch(database: str) -> None:
    """Put the trigger on the table of steps once a worker has made it."""
    while True:
        with psycopg.connect(database, autocommit=True) as db:
            there = db.execute("SELECT to_regclass('harness.steps') IS NOT NULL").fetchone()
            if there and there[0]:
                db.execute(TRIGGER)
                return
        time.sleep(0.1)


def recorded(database: str) -> dict[str, float]:
    with psycopg.connect(database) as db:
        return {str(key): float(at) for key, at in db.execute("SELECT key, min(at) FROM public.recorded GROUP BY key")}


def handed_over(database: str) -> int:
    """Tasks whose steps were recorded by more than one worker."""
    query = (
        "SELECT count(*) FROM (SELECT split_part(key, '/', 2) FROM public.recorded GROUP BY 1"
        " HAVING count(DISTINCT worker) > 1) t"
    )
    with psycopg.connect(database) as db:
        row = db.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def disturb(made: Site, server: WireServer, wanted: int, dice: random.Random) -> tuple[int, int]:
    """Kill workers, and now and then the scheduler, until the run is over; returns how often each.

    A worker is killed while models are asked, or it would have nothing to lose. After half as many
    kills again as were wanted, everybody is left in peace.
    """
    workers, schedulers, over = 0, 0, threading.Event()
    lives = {"east": 0, "west": 0}

    def supervise(name: str) -> None:
        nonlocal workers
        while not over.is_set():
            process = made.start(name)
            if workers >= 1.5 * wanted:
                over.wait()
                return
            while made.served(name) <= lives[name] and not over.is_set():
                time.sleep(0.1)
            lives[name] += 1
            before, patience = len(server.calls), time.monotonic() + 30
            while len(server.calls) < before + 2 and time.monotonic() < patience and not over.is_set():
                time.sleep(0.05)
            over.wait(dice.uniform(0.2, 3))
            if not over.is_set():
                process.kill()
                process.wait()
                workers += 1
                print(f"\r{workers} kills", end="", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=supervise, args=(name,)) for name in ("east", "west")]
    for thread in threads:
        thread.start()
    while True:
        process = made.start("office")
        try:
            process.wait(timeout=dice.uniform(20, 60) if workers < 1.5 * wanted else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            schedulers += 1
    over.set()
    for thread in threads:
        thread.join()
    return workers, schedulers


def paid_again(server: WireServer, steps: dict[str, float]) -> tuple[int, int]:
    """Calls whose answer had been recorded when they came, and tasks that were asked for after their result was."""
    offset = time.time() - time.monotonic()
    calls, tasks = 0, set()
    for call in server.calls:
        facts = call.facts
        if facts.phase == "execute":
            reply = f"execute/{facts.task}/attempt-{facts.attempt}/turn-{facts.turn}/reply"
            calls += call.at + offset > steps.get(reply, float("inf"))
            if call.at + offset > steps.get(f"execute/{facts.task}/result", float("inf")):
                tasks.add(facts.task)
    return calls, len(tasks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.5)
    wanted = parser.parse_args()
    trees, paid, seconds = {}, {}, {}
    with private_cluster() as cluster, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        replies = folder / "script.yaml"
        for way in ("undisturbed", "killed"):
            replies.write_text(yaml.safe_dump(script(wanted.tasks, wanted.seconds if way == "killed" else 0.2)))
            began = time.monotonic()
            with site(cluster, folder, way, replies) as (made, server, database):
                watcher = threading.Thread(target=watch, args=(database,), daemon=True)
                watcher.start()
                if way == "undisturbed":
                    made.start("east")
                    made.start("west")
                    made.start("office").wait()
                else:
                    workers, schedulers = disturb(made, server, wanted.kills, random.Random(wanted.seed))
                trees[way], paid[way], seconds[way] = made.tree(), len(server.calls), time.monotonic() - began
                steps = recorded(database)
                twice, finished_twice = paid_again(server, steps)
                moved = handed_over(database)
                log = (made.folder / "office.log").read_text()
            if '"status": "done"' not in log:
                print(log[-3000:])
    done = sum(key.endswith("/result") for key in steps)
    same = trees["killed"] == trees["undisturbed"]
    extra = paid["killed"] - paid["undisturbed"]
    print(f"\ntasks {wanted.tasks}, kills {workers} of workers and {schedulers} of the scheduler; "
          f"{seconds['undisturbed']:.0f} s undisturbed, {seconds['killed']:.0f} s killed")  # fmt: skip
    print(f"{moved} tasks were gone on with by another worker than the one before")
    print(f"lost tasks {wanted.tasks - done}, finished tasks paid again {finished_twice}, "
          f"recorded answers paid again {twice}, final tree {'identical' if same else 'DIFFERENT'}")  # fmt: skip
    print(f"calls: {paid['undisturbed']} undisturbed, {paid['killed']} killed: {extra} more, each in flight at a kill "
          f"(at most {workers * SLOTS} can be)")  # fmt: skip
    right = same and done == wanted.tasks and not twice and not finished_twice and extra <= workers * SLOTS
    return 0 if right and workers >= wanted.kills else 1


if __name__ == "__main__":
    raise SystemExit(main())
