"""The queue: ready issues → claimed → run, several at once, under one budget, until nothing is ready.

    ready ─claim→ run ─accepted→ done
                      ─failed, rejected→ given back; three in a row pause the queue
                      ─outage→ the queue pauses; the same run goes on
                      ─budget of the command or the day, signal→ given back; the next `harness work` goes on

What becomes of one issue is told in `taking`. An epic waits for its open children, which are work of their own; asked
for by type it is worked itself, and its children wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import anyio

from harness.allowance import Allowance, Share
from harness.claims import Claims, take_back
from harness.engine import LoadPipeline, Wishes, begun, run_issue
from harness.errors import HarnessError, Interrupted
from harness.protocols import Deps, Wanted
from harness.stop import Stop, run_lock
from harness.taking import EVERYBODYS, LABELS, STUCK, End, Kind, Taker, refuse_detached, refuse_keyless, verdict
from harness.types import Event, Issue, Run, Usage, Value

ATTENTION_SECONDS = 1.0
"""How soon a pause notices that it should end."""

Finished = Callable[[Run], Awaitable[object]]


async def _nothing(run: Run) -> None:
    return None


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


async def work_queue(
    deps: Deps,
    load_pipeline: LoadPipeline,
    wishes: Wishes | None = None,
    wanted: Wanted | None = None,
    allowance: Allowance | None = None,
    *,
    stop: Stop | None = None,
    finished: Finished = _nothing,
) -> QueueReport:
    """Work off everything that is ready, then return; see `Queue`. The caller holds `claims.queue_lock`."""
    queue = Queue(deps, load_pipeline, wishes, wanted, allowance, stop=stop, finished=finished)
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
        allowance: Allowance | None = None,
        *,
        stop: Stop | None = None,
        finished: Finished = _nothing,
    ) -> None:
        self.deps, self._load, self._finished = deps, load_pipeline, finished
        self._wishes, self._wanted = wishes or Wishes(), wanted or Wanted()
        self._allowance = allowance or Allowance()
        self._stop, self._clock = stop or Stop(deps.settings.state), self._allowance.clock
        self._settings = deps.settings.queue
        self._share = Share(self._allowance, self._settings.budget_per_day)
        self._claims = Claims(deps.settings.state)
        self._taker = Taker(deps, self._judge, self._claims)
        self._first: list[str] = []
        """Issues of workers that are gone: taken before all others."""
        self._working: dict[str, Issue] = {}
        self._seen: set[str] = set()
        """Issues taken, or refused, since `drain` was called: none is taken twice in one go."""
        self._filed: set[str] = set()
        """Issues that runs of this queue have filed: for people to look at first."""
        self._failures: list[str] = []
        """Issues that failed since the last one that did not."""
        self._outage_since: float | None = None
        self._halt: tuple[str, int] | None = None
        """Why no more is taken, and the exit code for it."""
        self._report = QueueReport()

    @property
    def report(self) -> QueueReport:
        """Everything so far."""
        why, code = self._halt or (None, 1 if self._report.taken > self._report.done else 0)
        usd = max(Decimal(0), self._share.spent.cost_usd)
        return self._report.model_copy(update={"stopped": why, "exit_code": code, "usd": usd})

    @property
    def halted(self) -> bool:
        return self._halt is not None

    async def recover(self) -> list[str]:
        """Take back what workers that are gone still hold; their runs go on first.

        Raises for what would fail every issue in the end.
        """
        await refuse_detached(self.deps)
        self._first = await take_back(self._claims, self.deps)
        return self._first

    def go_on(self) -> None:
        """Forget a pause after failures: somebody has looked, or time has passed."""
        self._halt = None
        self._failures.clear()

    async def drain(self) -> QueueReport:
        """Work until nothing is ready, a limit is reached, or the queue has to stop."""
        self._seen.clear()
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

            def begin(issue: Issue) -> None:
                group.start_soon(work, issue)

            while not await self._enough():
                try:
                    await self._take(begin)
                except HarnessError as trouble:  # of the tracker or the journal: those under way come to their end
                    self._halt = (str(trouble), 2)
                if not self._working and not ended.is_set():
                    break
                with anyio.move_on_after(self._settings.poll_seconds):
                    await ended.wait()
                ended = anyio.Event() if ended.is_set() else ended
        return self.report

    # ── claim ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def candidates(self, limit: int | None = None) -> list[Issue]:
        """What may be taken now, in the order of taking."""
        found: list[Issue] = []
        for issue in await self._ready():
            if limit is not None and len(found) >= limit:
                break
            if await self._waits_for_nobody(issue):
                found.append(issue)
        return found

    async def _ready(self) -> list[Issue]:
        """What the tracker calls ready, without what is to be left alone; the issues of gone workers first."""
        alone = self._filed | await self._cancelled()
        ready = await self.deps.tracker.ready(self._wanted)
        found = [issue for issue in ready if issue.id not in alone and STUCK not in issue.labels]
        return sorted(found, key=lambda issue: issue.id not in self._first)

    async def _waits_for_nobody(self, issue: Issue) -> bool:
        """Whether it is no epic with open children. Asked of one issue at a time: with `bd` it takes a third of a
        second."""
        if issue.type == "epic" and "epic" not in self._wanted.types:
            return not await self.deps.tracker.children(issue.id)
        return True

    async def _cancelled(self) -> set[str]:
        """Issues whose latest run somebody has cancelled, and not resumed."""
        found = set()
        for run_id in self._stop.all_cancelled():
            run = await self.deps.journal.load(run_id)
            latest = await self.deps.journal.runs(issue=run.issue.id, limit=1) if run else []
            found |= {run.issue.id for run in latest if run.id == run_id}
        return found

    async def _enough(self) -> bool:
        """Whether no more may be taken; what halts the queue is remembered."""
        await self._share.renew(self.deps.journal)
        if self._stop.requested and self._halt is None:
            self._halt = ("stopped by a signal", 130)
        if (spent := self._share.used_up()) and self._halt is None:
            self._halt = (spent, 1 if self._working else self.report.exit_code)
        return self._halt is not None or self._allowance.full

    async def _take(self, begin: Callable[[Issue], None]) -> None:
        """Claim what there is room for, and begin it at once: what is claimed is worked, or given back."""
        most = self._allowance.limits.parallel or self._settings.parallel_issues
        if len(self._working) >= most or self._outage_since is not None:
            return
        for issue in await self._ready():
            if len(self._working) >= most or await self._enough():
                return
            if issue.id in self._seen or self._related(issue) or not await self._waits_for_nobody(issue):
                continue
            self._seen.add(issue.id)
            refuse_keyless(issue, self.deps, self._load, self._wishes)
            mine = await self._taker.claim(issue.id)
            if mine is not None:
                self._working[mine.id] = mine
                self._allowance.taken += 1
                self._count("taken")
                begin(mine)

    def _related(self, issue: Issue) -> bool:
        """Whether its epic, or one of its children, is being worked on."""
        return any(other.id == issue.parent or other.parent == issue.id for other in self._working.values())

    # ── run ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self, issue: Issue) -> None:
        """One claimed issue to its end, its claim settled."""
        try:
            end = await self._taker.work(issue, partial(self._run, issue))
        except anyio.get_cancelled_exc_class():
            self._count("released")
            raise
        self._count(end.kind)
        self._tell(issue, end)
        self._heed(issue, end)
        if end.run is not None and end.trouble is None:
            self._filed |= set(end.run.filed)
            await self._hand_on(end.run)

    async def _hand_on(self, run: Run) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._finished(run)
        except HarnessError as trouble:
            self._halt = (str(trouble), 2)

    async def _run(self, issue: Issue) -> Run:
        """The issue's run; while no model can be reached it waits and goes on, until it has to give up."""
        with run_lock(self.deps.settings.state, f"issue-{issue.id}"):
            before = await begun(issue.id, self.deps)
            paid = before.usage if before else Usage()
            while True:
                meter = self._share.meter(repeated=paid)
                run = await run_issue(issue, self.deps, self._load, self._wishes, meter)
                if meter.usage.requests > paid.requests:
                    self._outage_since = None  # somebody answered: this is another outage
                paid = meter.usage
                if not self._is_outage(run):
                    self._outage_since = None
                    return run
                if not await self._wait_out(run):
                    return run

    # ── pauses ────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_outage(self, run: Run) -> bool:
        return run.status == "interrupted" and not self._stop.requested and not self._stop.cancelled(run.id)

    async def _wait_out(self, run: Run) -> bool:
        """Wait before no model is asked once more; False when the outage has lasted too long, or the queue stops."""
        since = self._outage_since = self._outage_since or self._clock.seconds()
        if self._clock.seconds() - since >= self._settings.outage_give_up_seconds:
            self._halt = self._halt or (f"no model could be reached for too long: {run.error}", 1)
            return False
        pause = self._settings.outage_pause_seconds
        told = {"error": run.error, "again_in": round(pause)}
        at = self._clock.now()
        self.deps.emit(Event(run_id=run.id, issue_id=run.issue.id, kind="outage", at=at, data=told))
        end = self._clock.seconds() + pause
        while (left := end - self._clock.seconds()) > 0 and not self._stop.requested and not self._halt:
            await self._clock.sleep(min(left, ATTENTION_SECONDS))
        return not (self._halt or self._stop.requested)

    # ── what failures mean ────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, end: Run | HarnessError) -> Kind:
        """Nobody looks on: what stops one issue and no other counts against it, so that it is not tried for ever."""
        if isinstance(end, EVERYBODYS):
            # Now, not after the issue was given back: were that to fail too, the queue must not go on.
            self._halt = (str(end), 2)
            return "released"
        if isinstance(end, HarnessError):
            return "released" if isinstance(end, Interrupted) else "failed"
        if end.status == "over_budget":
            spent = self._share.used_up()
            self._halt = self._halt or ((spent, 1) if spent else None)
            return "released" if spent else "failed"
        return verdict(end)

    def _heed(self, issue: Issue, end: End) -> None:
        """Issues that fail one after another pause the queue; so does a claim that cannot be settled."""
        if end.unsettled is not None:
            self._halt = (str(end.unsettled), 2)
        if end.kind == "done":
            self._failures.clear()
        elif end.kind in LABELS:
            self._failures = [*(known for known in self._failures if known != issue.id), issue.id]
            if len(self._failures) >= self._settings.pause_after_failures:
                many = f"{len(self._failures)} issues in a row were" if len(self._failures) > 1 else "an issue was"
                self._halt = self._halt or (f"{many} not accepted: {', '.join(self._failures)}", 1)

    # ── keeping count ─────────────────────────────────────────────────────────────────────────────────────────

    def _count(self, name: str) -> None:
        self._report = self._report.model_copy(update={name: getattr(self._report, name) + 1})

    def _tell(self, issue: Issue, end: End) -> None:
        run = end.run
        told = {
            "run": run and run.id,
            "issue": issue.id,
            "status": end.kind if end.trouble or run is None else run.status,
            "error": end.why,
            "usd": str(run.usage.cost_usd if run else 0),
            "landing": run and run.landing and run.landing.model_dump(mode="json"),
        }
        self._report = self._report.model_copy(update={"runs": (*self._report.runs, told)})
