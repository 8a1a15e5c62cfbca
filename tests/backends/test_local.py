"""The local backend keeps the contract; what makes a job idempotent there is the worker's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from harness.backends.local import LocalBackend
from harness.budget import Meter, paid
from harness.errors import ModelUnavailable
from harness.journal import SqliteJournal
from harness.protocols import StepLog
from harness.types import Attempt, Job, ModelCall, TaskResult, Usage
from tests.contracts.backend import BackendContract


class Worker:
    """Stands for `harness.worker`: journals its result, and counts how often it really worked."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.journal, self.started, self.outage = journal, Counter[str](), True

    async def __call__(self, job: Job, meter: Meter) -> TaskResult:
        async def work() -> TaskResult:
            name = job.task.id
            if name == "outage" and self.outage:
                raise ModelUnavailable("the model is overloaded", "wait", None)
            if name == "hopeless":
                return TaskResult(task_id=name, status="failed", error="it does not work")
            self.started[name] += 1
            call = ModelCall(phase="execute", tier="haiku", model="a/b", usage=Usage(requests=1, output_tokens=10))
            meter.add(call.usage)
            attempt = Attempt(number=1, tier="haiku", model="a/b", outcome="passed", calls=(call,))
            return TaskResult(task_id=name, status="done", commit="c" * 40, attempts=(attempt,), round=job.round)

        return await paid(StepLog(self.journal, job.run_id, f"{job.key}/"), meter, "result", TaskResult, work)


class TestContract(BackendContract):
    @pytest.fixture
    async def worker(self, tmp_path: Path) -> AsyncIterator[Worker]:
        journal = SqliteJournal(tmp_path / "journal.db")
        yield Worker(journal)
        await journal.aclose()

    @pytest.fixture
    def backend(self, worker: Worker) -> LocalBackend:
        return LocalBackend(worker, 4)

    @pytest.fixture
    def base(self) -> str:
        return "b" * 40

    @pytest.fixture
    def ledger(self, worker: Worker) -> Callable[[str], int]:
        return lambda name: worker.started[name]

    @pytest.fixture
    def mend(self, worker: Worker) -> Callable[[], None]:
        def mended() -> None:
            worker.outage = False

        return mended
