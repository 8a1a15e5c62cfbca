"""One job: a task worked in its own worktree, verified, retried with feedback, escalated, committed.

Both backends call `do_job`. Every attempt is one journaled value; inside it the executor journals its turns. A crash
anywhere and the same call again goes on where it was: recorded attempts are read, recorded turns replayed, and the
worktree set back to the content of the last recorded turn.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.budget import Meter, paid
from harness.models.genai import spent
from harness.protocols import Deps, Session, StepLog, Steps, Worked
from harness.spans import ISSUE, PHASE, RUN, TASK, Attribute
from harness.strangers import one_line
from harness.types import Attempt, Event, Job, ModelCall, TaskResult, TierPool, Value, total
from harness.verify import Baseline, failures, judge, run_checks


class _Work(Value):
    """An executor's session and the content it left behind."""

    worked: Worked
    tree: str

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        return self.worked.calls

    @property
    def objects(self) -> tuple[str, ...]:
        return (self.tree,)


async def do_job(job: Job, deps: Deps, meter: Meter, steps: Steps | None = None) -> TaskResult:
    """The job's result; idempotent by `(run_id, job.key)`. Steps are recorded in `steps`, default the journal.

    Raises BudgetExceeded and ModelError when work cannot go on for reasons that are not the task's: nothing is
    recorded then beyond what is finished, and the same call later continues.
    """
    log = StepLog(steps or deps.journal, job.run_id, f"{job.key}/")
    worker = _Worker(job, deps, meter, meter.child(job.budget, "task"), log)
    return await paid(log, meter, "result", TaskResult, worker.climb)


@dataclass
class _Worker:
    job: Job
    deps: Deps
    run_meter: Meter
    meter: Meter
    """The task's own, over all its attempts."""
    log: StepLog

    async def climb(self) -> TaskResult:
        """Up the ladder: each tier gets its attempts, each attempt the last one's feedback."""
        job, feedback = self.job, self.job.feedback
        attempts: list[Attempt] = []
        self._tell("task.started", title=job.task.title, tier=job.ladder[0].tier, round=job.round)
        names = {**self._names, "harness.tier": job.ladder[0].tier, "harness.round": job.round}
        with self.deps.spans.span("task", names) as span:
            result = await self._rungs(feedback, attempts)
            span.set({"harness.status": result.status, "harness.attempts": len(attempts), **spent(result.usage)})
            if result.status != "done":
                span.fail(result.status, result.error or "")
        return result

    async def _rungs(self, feedback: str, attempts: list[Attempt]) -> TaskResult:
        job = self.job
        per_tier = self.deps.settings.attempts_per_tier
        for pool in job.ladder:
            for _ in range(per_tier):
                number = len(attempts) + 1
                attempt = await self._attempt(number, pool, feedback)
                attempts.append(attempt)
                if attempt.outcome == "passed":
                    return self._end(attempts, "done", attempt.commit)
                if attempt.outcome == "budget":
                    return self._end(attempts, "failed", None)
                feedback = attempt.feedback
        return self._end(attempts, "failed", None)

    def _end(self, attempts: Sequence[Attempt], status: Any, commit: str | None) -> TaskResult:
        last = attempts[-1]
        error = (
            None
            if status == "done"
            else f"{len(attempts)} attempts, the last with {last.tier}: {_first_lines(last.feedback)}"
        )
        self._tell("task.finished", status=status, tier=last.tier, attempts=len(attempts), commit=commit)
        return TaskResult(
            task_id=self.job.task.id,
            status=status,
            summary=last.summary,
            commit=commit,
            attempts=tuple(attempts),
            error=error,
            round=self.job.round,
        )

    async def _attempt(self, number: int, pool: TierPool, feedback: str) -> Attempt:
        attempt = await paid(
            self.log, self.meter, f"attempt-{number}", Attempt, lambda: self._work(number, pool, feedback)
        )
        self._tell(
            "task.attempt",
            number=number,
            tier=attempt.tier,
            model=attempt.model,
            outcome=attempt.outcome,
            usd=str(sum((call.usage.cost_usd for call in attempt.calls), start=0)),
        )
        return attempt

    async def _work(self, number: int, pool: TierPool, feedback: str) -> Attempt:
        agent = self.job.executor
        names = {**self._names, "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent,
                 "gen_ai.conversation.id": self.job.affinity, "gen_ai.request.model": pool.models[0].partition("/")[2],
                 "harness.tier": pool.tier, "harness.attempt": number}  # fmt: skip
        with self.deps.spans.span(f"invoke_agent {agent}", names) as span:
            attempt = await self._tried(number, pool, feedback)
            span.set({"harness.outcome": attempt.outcome, "harness.model": attempt.model,
                      **spent(total(attempt.calls))})  # fmt: skip
            if attempt.outcome != "passed":
                span.fail(attempt.outcome, attempt.feedback)
        return attempt

    async def _tried(self, number: int, pool: TierPool, feedback: str) -> Attempt:
        job, space = self.job, self.deps.workspace
        began, started_at = time.monotonic(), datetime.now(UTC)
        self.run_meter.check()
        # Not the number alone: two rounds of one task may be under way on different machines.
        name = f"{job.run_id}/{job.task.id}-{job.round}-{number}"
        async with space.worktree(name, job.base) as path:
            start = await space.snapshot(path)
            session = Session(
                job=job,
                pool=pool,
                number=number,
                path=path,
                start=start,
                feedback=feedback,
                meter=self.meter,
                log=self.log.under(f"attempt-{number}"),
                emit=self.deps.emit,
                spans=self.deps.spans,
            )
            work = await paid(session.log, self.meter, "work", _Work, lambda: self._session(session))
            await space.restore(path, work.tree)
            verdict = await self._judge(path, number, work.worked)
        return verdict.model_copy(
            update={
                "number": number,
                "tier": pool.tier,
                "model": work.worked.model or pool.models[0],
                "summary": work.worked.summary[: job.limits.summary_chars],
                "calls": work.worked.calls,
                "seconds": time.monotonic() - began,
                "started_at": started_at,
                "worker": f"{socket.gethostname()}:{os.getpid()}",
            }
        )

    async def _session(self, session: Session) -> _Work:
        executor = self.deps.executors(self.job.executor)
        worked = await executor.work(session)
        if worked.outcome == "budget":
            # The run's budget is a reason to stop and resume; only the task's own is the task's failure.
            self.run_meter.check()
        return _Work(worked=worked, tree=await self.deps.workspace.snapshot(session.path))

    async def _judge(self, path: Path, number: int, worked: Worked) -> Attempt:
        """Done is what has a commit, stays in scope and passes; nothing else."""
        job, space = self.job, self.deps.workspace
        blank = Attempt(number=number, tier="", model="", outcome="error")
        if worked.outcome != "finished":
            kind = worked.outcome if worked.outcome in ("limit", "budget") else "error"
            return blank.model_copy(
                update={"outcome": kind, "feedback": worked.error or "the session ended without a result"}
            )
        commit = await space.commit(path, job.base, self._message(number, worked.summary))
        if commit is None:
            return blank.model_copy(
                update={
                    "outcome": "no_change",
                    "feedback": "You reported the task as done, but no file in the checkout changed. Make the change.",
                }
            )
        strays = out_of_scope(await space.changed(job.base, commit), job.task.files)
        if strays:
            return blank.model_copy(
                update={
                    "outcome": "out_of_scope",
                    "commit": commit,
                    "feedback": f"You changed files that are not in this task's scope ({', '.join(job.task.files)}): "
                    f"{', '.join(strays[:10])}. Others work on those at the same time. Stay within the scope.",
                }
            )
        commands = (*job.verify, *job.task.verify)
        with self.deps.spans.span("verify", {**self._names, "harness.commands": len(commands)}) as span:
            checks = await run_checks(self.deps.sandbox, commands, path, job.limits.command_seconds)
            checks = judge(checks, Baseline(failing=job.known_failures), job.task.verify)
            if failed := sum(not check.ok for check in checks):
                span.fail("checks_failed", f"{failed} of {len(checks)} commands")
        if all(check.ok for check in checks):
            await space.keep(f"harness/{job.run_id}/{job.task.id}", commit)
            return blank.model_copy(update={"outcome": "passed", "commit": commit, "checks": checks})
        return blank.model_copy(
            update={"outcome": "failed", "commit": commit, "checks": checks, "feedback": failures(checks)}
        )

    @property
    def _names(self) -> dict[str, Attribute | None]:
        return {RUN: self.job.run_id, ISSUE: self.job.issue_id, TASK: self.job.task.id, PHASE: "execute"}

    def _message(self, number: int, summary: str) -> str:
        job = self.job
        title = one_line(job.task.title)[:72]
        fingerprint = hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:12]
        step = f"Harness-Step: {job.run_id}/{job.task.id}/{job.round}.{number}#{fingerprint}"
        return f"{title}\n\n{summary.strip()}\n\nIssue: {job.issue_id}\n{step}\n"

    def _tell(self, kind: str, **data: Any) -> None:
        self.deps.emit(
            Event(
                run_id=self.job.run_id,
                issue_id=self.job.issue_id,
                kind=kind,
                at=datetime.now(UTC),
                phase="execute",
                task_id=self.job.task.id,
                data=data,
            )
        )


def out_of_scope(changed: Sequence[str], scope: Sequence[str]) -> tuple[str, ...]:
    """Changed paths that no entry of the scope covers: a path, a folder, or a glob; an empty scope covers all."""
    if not scope:
        return ()
    return tuple(path for path in changed if not any(covers(entry, path) for entry in scope))


def covers(entry: str, path: str) -> bool:
    """Whether a scope entry (path, folder or glob, `**` across folders) covers a path."""
    entry = entry.removeprefix("./").rstrip("/")
    return path == entry or path.startswith(entry + "/") or fnmatch.fnmatchcase(path, entry.replace("**/", "*"))


def _first_lines(text: str, lines: int = 3) -> str:
    kept = [line for line in text.strip().splitlines() if line.strip()][:lines]
    return " · ".join(kept)[:300]
