"""The queue: ready issues → claimed → run, several at once, under one budget, until nothing is ready.

    ready ─claim→ run_issue ─accepted→ done (landed; in mode `branch` it stays claimed until somebody merges it)
                           ─failed, rejected→ released: labelled, with why and how to retry
                           ─outage→ the queue pauses; the same run goes on
                           ─budget of the day, signal→ released; the next `harness work` goes on with the run

An epic waits for its open children, which are work of their own; asked for by type it is worked itself, and its
children wait for it. An issue that used up its attempts carries `harness:stuck` and is left alone until somebody
removes that label.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio

from harness.budget import Meter
from harness.claims import Claims, take_back
from harness.engine import LoadPipeline, Wishes, run_issue, unfinished
from harness.errors import (
    BudgetExceeded,
    HarnessError,
    Interrupted,
    JournalError,
    MissingTool,
    ModelAuthError,
    SandboxError,
    TrackerError,
)
from harness.protocols import Deps, Wanted
from harness.stop import Stop, run_lock
from harness.taking import LABELS
from harness.types import Budget, Issue, Run, Usage, Value

STUCK = "harness:stuck"
"""On issues that failed as often as `queue.max_attempts_per_issue` allows."""
FATAL = (ModelAuthError, JournalError, TrackerError, SandboxError, MissingTool)
"""Trouble that every other issue would have too."""
ATTENTION_SECONDS = 1.0
"""How soon a pause notices that it should end."""

Finished = Callable[[Run], Awaitable[object]]


async def _nothing(run: Run) -> None:
    return None


class Limits(Value):
    """How much one call takes on; None is unbounded."""

    parallel: int | None = None
    """Issues at once; None takes `queue.parallel_issues`."""
    max_issues: int | None = None
    budget: Budget = Budget()
    """Of this queue, beside the day's (`queue.budget_per_day`)."""


class QueueReport(Value):
    """What a queue came to. Counts are issues; `usd` is what was spent now, repeated steps of resumed runs excluded."""

    taken: int = 0
    done: int = 0
    failed: int = 0
    rejected: int = 0
    released: int = 0
    """Given back without a verdict: stopped, over budget, an outage that lasted."""
    stopped: str | None = None
    """Why it ended before nothing was ready; None when it did not."""
    exit_code: int = 0
    usd: Decimal = Decimal(0)
    runs: tuple[dict[str, Any], ...] = ()


class Clock:
    """Time as the queue sees it; tests bring their own."""

    seconds = staticmethod(time.monotonic)
    sleep = staticmethod(anyio.sleep)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


async def work_queue(
    deps: Deps,
    load_pipeline: LoadPipeline,
    wishes: Wishes | None = None,
    wanted: Wanted | None = None,
    limits: Limits | None = None,
    *,
    stop: Stop | None = None,
    finished: Finished = _nothing,
    clock: Clock | None = None,
) -> QueueReport:
    """Work off everything that is ready, then return; see `Queue`. The caller holds `claims.queue_lock`."""
    queue = Queue(deps, load_pipeline, wishes, wanted, limits, stop=stop, finished=finished, clock=clock)
    await queue.recover()
    return await queue.drain()


class Queue:
    """One repository's queue. `drain` may be called again and again: budgets, counts and failures carry over."""

    def __init__(
        self,
        deps: Deps,
        load_pipeline: LoadPipeline,
        wishes: Wishes | None = None,
        wanted: Wanted | None = None,
        limits: Limits | None = None,
        *,
        stop: Stop | None = None,
        finished: Finished = _nothing,
        clock: Clock | None = None,
    ) -> None:
        self.deps, self._load, self._finished = deps, load_pipeline, finished
        self._wishes, self._wanted, self._limits = wishes or Wishes(), wanted or Wanted(), limits or Limits()
        self._stop, self._clock = stop or Stop(deps.settings.state), clock or Clock()
        self._settings = deps.settings.queue
        self._claims = Claims(deps.settings.state)
        self._first: list[str] = []
        """Issues of workers that are gone: taken before all others."""
        self._working: dict[str, Issue] = {}
        self._seen: set[str] = set()
        """Issues taken, or refused, since `drain` was called: none is taken twice in one go."""
        self._filed: set[str] = set()
        self._failures: list[str] = []
        """Issues that failed since the last one that did not."""
        self._outage_since: float | None = None
        self._halt: tuple[str, int] | None = None
        """Why no more is taken, and the exit code for it."""
        self._day: tuple[str, Meter] | None = None
        self._spent = Meter(self._limits.budget, None, "queue")
        self._report = QueueReport()

    @property
    def report(self) -> QueueReport:
        """Everything so far."""
        verdict = 1 if self._report.taken > self._report.done else 0
        why, code = self._halt or (None, verdict)
        usd = max(Decimal(0), self._spent.usage.cost_usd)
        return self._report.model_copy(update={"stopped": why, "exit_code": code, "usd": usd})

    @property
    def halted(self) -> bool:
        return self._halt is not None

    async def recover(self) -> list[str]:
        """Take back what workers that are gone still hold; their runs go on first."""
        self._first = await take_back(self._claims, self.deps)
        return self._first

    def go_on(self) -> None:
        """Forget a pause after failures: somebody has looked, or time has passed."""
        self._halt = None
        self._failures.clear()

    async def drain(self) -> QueueReport:
        """Work until nothing is ready, a limit is reached, or the queue has to stop."""
        self._seen.clear()
        await self._new_day()
        ended = anyio.Event()
        async with anyio.create_task_group() as group:

            async def work(issue: Issue) -> None:
                nonlocal ended
                try:
                    await self._work(issue)
                finally:
                    del self._working[issue.id]
                    ended.set()
                if self._halt and self._halt[1] == 2:
                    group.cancel_scope.cancel()

            while not self._enough():
                for issue in await self._take():
                    group.start_soon(work, issue)
                if not self._working:
                    break
                with anyio.move_on_after(self._settings.poll_seconds):
                    await ended.wait()
                ended = anyio.Event() if ended.is_set() else ended
        return self.report

    async def candidates(self) -> list[Issue]:
        """What may be taken now, in the order of taking."""
        ready = await self.deps.tracker.ready(self._wanted)
        runs: dict[str, list[Run]] = {}
        for run in await self.deps.journal.runs():
            runs.setdefault(run.issue.id, []).append(run)
        found = [issue for issue in ready if await self._may(issue, runs.get(issue.id, []))]
        return sorted(found, key=lambda issue: issue.id not in self._first)

    # ── taking ────────────────────────────────────────────────────────────────────────────────────────────────

    def _enough(self) -> bool:
        if self._stop.requested and self._halt is None:
            self._halt = ("stopped by a signal", 130)
        for meter in (self._spent, self._day and self._day[1]):
            try:
                if meter is not None and self._halt is None:
                    meter.check()
            except BudgetExceeded as reached:
                self._halt = (reached.message, 1 if self._working else self.report.exit_code)
        limit = self._limits.max_issues
        return self._halt is not None or (limit is not None and self._report.taken >= limit)

    async def _take(self) -> list[Issue]:
        free = (self._limits.parallel or self._settings.parallel_issues) - len(self._working)
        taken: list[Issue] = []
        if free <= 0 or self._outage_since is not None:
            return taken
        for issue in await self.candidates():
            if len(taken) >= free or self._enough():
                break
            if issue.id in self._seen or self._related(issue):
                continue
            self._seen.add(issue.id)
            mine = await self._claim(issue.id)
            if mine is not None:
                self._working[mine.id] = mine
                self._count(taken=1)
                taken.append(mine)
        return taken

    async def _claim(self, issue_id: str) -> Issue | None:
        """The issue as it is now that it is ours; None when somebody was quicker."""
        self._claims.note(issue_id, self.deps.actor)
        if await self.deps.tracker.claim(issue_id, self.deps.actor):
            issue = await self.deps.tracker.get(issue_id)
            if issue.assignee == self.deps.actor:
                return issue
        self._claims.cross_out(issue_id)
        return None

    async def _may(self, issue: Issue, runs: list[Run]) -> bool:
        if issue.id in self._filed or STUCK in issue.labels:
            return False
        if runs and self._stop.cancelled(runs[0].id):
            return False
        if issue.type == "epic" and "epic" not in self._wanted.types:
            return not await self.deps.tracker.children(issue.id)
        return True

    def _related(self, issue: Issue) -> bool:
        """Whether its epic, or one of its children, is being worked on."""
        return any(other.id == issue.parent or other.parent == issue.id for other in self._working.values())

    # ── working ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self, issue: Issue) -> None:
        """One claimed issue, to its end; whatever happens, its claim is settled."""
        try:
            with run_lock(self.deps.settings.state, f"issue-{issue.id}"):
                run = await self._through_outages(issue)
            with anyio.CancelScope(shield=True):  # a verdict that is there must not become a release
                await self._settle(issue, run)
        except HarnessError as trouble:
            await self._trouble(issue, trouble)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                self._count(released=1)
                await self._release(issue, "stopped; it goes on where it was with the next `harness work`")
            raise

    async def _through_outages(self, issue: Issue) -> Run:
        """The issue's run; while no model can be reached it waits and goes on, until it has to give up."""
        before = await unfinished(issue.id, self.deps)
        paid = (await self.deps.journal.load(before.id) or before).usage if before else Usage()
        while True:
            # What it repeats from the journal has been counted already.
            self._spent.add(_negative(paid))
            meter = self._spent.child(Budget(), "issue")
            run = await run_issue(issue, self.deps, self._load, self._wishes, meter)
            if meter.usage.requests > paid.requests:
                self._outage_since = None  # somebody answered: this is another outage
            paid = meter.usage
            if not self._is_outage(run):
                self._outage_since = None
                return run
            since = self._outage_since = self._outage_since or self._clock.seconds()
            if self._clock.seconds() - since >= self._settings.outage_give_up_seconds:
                self._halt = self._halt or (f"no model could be reached for too long: {run.error}", 1)
                return run
            await self._pause(self._settings.outage_pause_seconds)
            if self._halt or self._stop.requested:
                return run

    def _is_outage(self, run: Run) -> bool:
        return run.status == "interrupted" and not self._stop.requested and not self._stop.cancelled(run.id)

    async def _pause(self, seconds: float) -> None:
        end = self._clock.seconds() + seconds
        while (left := end - self._clock.seconds()) > 0 and not self._stop.requested and not self._halt:
            await self._clock.sleep(min(left, ATTENTION_SECONDS))

    # ── afterwards ────────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self, issue: Issue, run: Run) -> None:
        await self._finished(run)
        self._tell(issue, run, run.status, run.error)
        self._filed |= set(run.filed)
        if run.accepted:
            self._failures.clear()
            self._count(done=1)
            self._claims.cross_out(issue.id)
        elif run.status == "rejected":
            self._count(rejected=1)
            await self._give_up(issue, run.status, run.error or "the review rejected it", run.id)
        elif run.status == "failed" or (run.status == "over_budget" and not self._bounds_reached()):
            self._count(failed=1)
            await self._give_up(issue, "failed", run.error or "it failed", run.id)
        else:
            self._count(released=1)
            how = f"It goes on where it stopped: harness resume {run.id}, or the next harness work."
            await self._release(issue, f"{run.error or run.status}\n{how}")

    def _bounds_reached(self) -> bool:
        """Whether the day's or the queue's budget is used up, rather than the run's own."""
        try:
            self._spent.check()
        except BudgetExceeded as reached:
            self._halt = self._halt or (reached.message, 1)
            return True
        return False

    async def _trouble(self, issue: Issue, trouble: HarnessError) -> None:
        if isinstance(trouble, FATAL):
            # Stop first: were the release to fail too, the queue must not go on.
            self._halt = (str(trouble), 2)
        known = await unfinished(issue.id, self.deps)
        if isinstance(trouble, (*FATAL, Interrupted)):
            self._tell(issue, known, "released", trouble.message)
            self._count(released=1)
            await self._release(issue, str(trouble))
        else:
            self._tell(issue, known, "failed", trouble.message)
            self._count(failed=1)
            await self._give_up(issue, "failed", str(trouble), known.id if known else None)

    async def _give_up(self, issue: Issue, status: str, why: str, run_id: str | None) -> None:
        """Release a failed issue; the last time, and after too many in a row, with consequences."""
        runs = [run for run in await self.deps.journal.runs() if run.issue.id == issue.id]
        ended = sum(run.status in ("failed", "rejected") for run in runs)
        # Labels outlive a journal: a fresh clone in CI knows an earlier failure by them alone.
        earlier = sum(label in issue.labels for label in LABELS.values())
        failures = max(ended, earlier + 1)
        stuck = failures >= self._settings.max_attempts_per_issue
        labels = [LABELS[status], *([STUCK] if stuck else [])]
        if stuck:
            retry = f"That was attempt {failures}; it is left alone until the label {STUCK} is removed."
        else:
            retry = f"That was attempt {failures} of {self._settings.max_attempts_per_issue}; harness work tries again."
        look = f" Look at it: harness show {run_id}." if run_id else ""
        await self._release(issue, f"{status}: {why}\n{retry}{look} By hand: harness run {issue.id}", labels)
        self._failures = [*(known for known in self._failures if known != issue.id), issue.id]
        if len(self._failures) >= self._settings.pause_after_failures and self._halt is None:
            self._halt = (f"{len(self._failures)} issues in a row were not accepted: {', '.join(self._failures)}", 1)

    async def _release(self, issue: Issue, why: str, labels: list[str] | None = None) -> None:
        await self.deps.tracker.release(issue.id, f"harness: {why}", self.deps.actor, labels or [])
        self._claims.cross_out(issue.id)

    # ── keeping count ─────────────────────────────────────────────────────────────────────────────────────────

    async def _new_day(self) -> None:
        """Draw from today's budget, of which today's earlier runs have used their share."""
        today = self._clock.now().astimezone().date()
        if self._day and self._day[0] == today.isoformat():
            return
        meter = Meter(self._settings.budget_per_day, None, "day")
        for run in await self.deps.journal.runs():
            if run.started_at and run.started_at.astimezone().date() == today:
                meter.add(run.usage)
        self._day = (today.isoformat(), meter)
        self._spent.parent = meter

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self._report, name) + number for name, number in more.items()}
        self._report = self._report.model_copy(update=counts)

    def _tell(self, issue: Issue, run: Run | None, status: str, error: str | None) -> None:
        told = {
            "run": run and run.id,
            "issue": issue.id,
            "status": status,
            "error": error,
            "usd": str(run.usage.cost_usd if run else 0),
            "landing": run and run.landing and run.landing.model_dump(mode="json"),
        }
        self._report = self._report.model_copy(update={"runs": (*self._report.runs, told)})


def _negative(usage: Usage) -> Usage:
    return Usage(**{name: -getattr(usage, name) for name in Usage.model_fields})
