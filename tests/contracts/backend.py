"""What every backend must do, wherever its jobs run."""

from __future__ import annotations

import anyio
import pytest

from harness.budget import Meter
from harness.errors import ModelUnavailable
from harness.protocols import Backend
from harness.types import Job, Task, TierPool


def a_job(name: str, base: str, run_id: str = "run-1", **changes: object) -> Job:
    job = Job(
        run_id=run_id,
        issue_id="i-1",
        task=Task(id=name, title=f"Write {name}"),
        base=base,
        ladder=(TierPool(tier="haiku", models=("a/b",)),),
        executor="tool_loop",
        affinity=f"{run_id}-{name}",
    )
    return job.model_copy(update=changes)


class BackendContract:
    """Fixtures to give: `backend`, `base` (a commit), `ledger` (a callable: how often a task was started), and
    `mend` (ends the outage that tasks named `outage…` meet)."""

    async def test_a_job_is_done_and_its_usage_counted(self, backend: Backend, base: str) -> None:
        meter = Meter()
        result = await backend.run(a_job("t1", base), meter)
        assert (result.task_id, result.status) == ("t1", "done")
        assert result.commit is not None
        assert meter.usage.output_tokens == 10

    async def test_asked_again_it_answers_and_does_nothing_twice(self, backend: Backend, base: str, ledger) -> None:
        first = await backend.run(a_job("t1", base), Meter())
        assert await backend.run(a_job("t1", base), Meter()) == first
        assert ledger("t1") == 1
        redone = await backend.run(a_job("t1", base, round=1), Meter())
        assert redone.status == "done"
        assert ledger("t1") == 2
        await backend.run(a_job("t1", base, run_id="run-2"), Meter())
        assert ledger("t1") == 3

    async def test_jobs_run_side_by_side(self, backend: Backend, base: str) -> None:
        results = {}

        async def one(name: str) -> None:
            results[name] = await backend.run(a_job(name, base), Meter())

        with anyio.fail_after(18):
            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(one, f"t{number}")
        assert sorted(results) == ["t0", "t1", "t2", "t3"]
        assert {result.status for result in results.values()} == {"done"}

    async def test_failure_is_an_answer(self, backend: Backend, base: str) -> None:
        result = await backend.run(a_job("hopeless", base), Meter())
        assert (result.status, result.error, result.commit) == ("failed", "it does not work", None)

    async def test_an_outage_is_raised_and_the_same_call_later_goes_on(self, backend: Backend, base: str, mend) -> None:
        with pytest.raises(ModelUnavailable, match="overloaded") as caught:
            await backend.run(a_job("outage", base), Meter())
        assert caught.value.hint == "wait"
        mend()
        assert (await backend.run(a_job("outage", base), Meter())).status == "done"

    async def test_closing_twice_is_fine(self, backend: Backend) -> None:
        assert backend.capacity >= 1
        await backend.aclose()
