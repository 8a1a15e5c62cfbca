"""A worker machine for tests: a process with its own clone, cache and home, whose model is a file name.

    python a_worker.py DATABASE CLONE CACHE LEDGER LEASE SECONDS TAKEOVERS

Each task writes one file and takes SECONDS, in a child process that leaves its process id in the ledger's folder. What
it "pays" is a line in the ledger.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio

from harness import proc
from harness.backends.serving import Worker
from harness.budget import Meter, paid
from harness.errors import HarnessError, ModelUnavailable
from harness.protocols import StepLog, Steps
from harness.types import Attempt, Event, Job, ModelCall, TaskResult, Usage
from harness.workspace import GitWorkspace

KEY = "sk-ant-" + "a1B2" * 8
"""Looks like a credential, so it must not arrive anywhere."""


async def main() -> None:
    url, clone, cache, ledger, lease, seconds, takeovers = sys.argv[1:]
    space = await GitWorkspace.open(Path(clone), Path(cache))
    exchange = space.exchange("origin")

    def note(text: str) -> None:
        with open(ledger, "a") as file:
            file.write(f"{text} {os.getpid()}\n")

    async def do(job: Job, meter: Meter, steps: Steps) -> TaskResult:
        log = StepLog(steps, job.run_id, f"{job.key}/")
        return await paid(log, meter, "result", TaskResult, lambda: work(job))

    async def work(job: Job) -> TaskResult:
        name = job.task.id
        if name.startswith("outage") and not Path(ledger).with_name("mended").exists():
            raise ModelUnavailable("the model is overloaded", "wait", None)
        if name.startswith("killer"):
            note(f"killed-by {name}")
            os._exit(1)
        if name.startswith("hopeless"):
            return TaskResult(task_id=name, status="failed", error="it does not work")
        note(f"start {name}")
        worker.note(
            Event(run_id=job.run_id, kind="task.started", at=datetime.now(UTC), task_id=name, data={"key": KEY})
        )
        paid_for = {"requests": 1, "output_tokens": 10}
        worker.note(
            Event(run_id=job.run_id, kind="task.turn", at=datetime.now(UTC), task_id=name, data={"usage": paid_for})
        )
        async with space.worktree(f"{job.run_id}/{name}-{job.round}-1", job.base) as path:
            await proc.run(["sh", "-c", f"echo $$ > {ledger}.{name}.pid; exec sleep {seconds}"], cwd=path)
            (path / f"{name}.txt").write_text(name)
            commit = await space.commit(path, job.base, f"{name}\n\nHarness-Step: {job.run_id}/{name}/0.1#x\n")
        note(f"done {name}")
        call = ModelCall(phase="execute", tier="haiku", model="a/b", usage=Usage(requests=1, output_tokens=10))
        attempt = Attempt(number=1, tier="haiku", model="a/b", outcome="passed", calls=(call,), worker=str(os.getpid()))
        return TaskResult(task_id=name, status="done", commit=commit, attempts=(attempt,))

    worker = Worker(url, exchange, slots=2, lease_seconds=float(lease), poll_seconds=0.1, max_takeovers=int(takeovers))
    try:
        await worker.serve(do, lambda name: print("ready", name, flush=True))
    except HarnessError as error:
        print("stopped:", error, flush=True)
        raise SystemExit(error.exit_code) from None


anyio.run(main)
