"""Issues taken: claimed, worked, and every claim settled: landed, or given back with the reason and the way on.

    claim ─→ work ─accepted─────────→ done; on a branch it stays claimed until somebody has merged it
                  ─failed, rejected─→ open again, with a label; after `queue.max_attempts_per_issue` left alone
                  ─anything else────→ open again; its run goes on where it was

`harness run` and `harness work` do the same here. What they make of an end differs: see `Judge`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio

from harness.budget import Meter
from harness.claims import Claims, is_dead
from harness.config.reading import environment
from harness.engine import LoadPipeline, Wishes, begun, run_issue, staffed
from harness.errors import (
    HarnessError,
    JournalError,
    MissingTool,
    ModelAuthError,
    SandboxError,
    TrackerError,
)
from harness.models.providers import require_key
from harness.protocols import Deps
from harness.stop import run_lock
from harness.types import UNFINISHED, Issue, Run
from harness.workspace.landing import detached

Kind = Literal["done", "failed", "rejected", "released"]

LABELS = {"failed": "harness:failed", "rejected": "harness:rejected"}
"""The end of an attempt → the label its issue gets when it is given back."""
STUCK = "harness:stuck"
"""On issues that failed as often as `queue.max_attempts_per_issue` allows."""
EVERYBODYS = (ModelAuthError, JournalError, TrackerError, SandboxError, MissingTool)
"""Trouble that every other issue would have too."""
STOPPED = "stopped; it goes on where it was with the next harness work, or harness run"

Judge = Callable[[Run | HarnessError], Kind]
"""What an end means for the issue: whether it counts as an attempt."""


@dataclass(frozen=True)
class End:
    """What became of a taken issue."""

    kind: Kind
    run: Run | None = None
    """The run that has ended; with `trouble`, the one that was broken off, if it had begun."""
    trouble: HarnessError | None = None
    """What broke the run off."""
    unsettled: HarnessError | None = None
    """Why the issue could not be given back, so that it is still claimed."""

    @property
    def why(self) -> str | None:
        if self.trouble is not None:
            return self.trouble.message
        return self.run.error if self.run else None


def verdict(end: Run | HarnessError) -> Kind:
    """Where a person looks on: what the work came to counts; trouble is theirs to see, and no fault of the issue."""
    if isinstance(end, HarnessError):
        return "released"
    if end.accepted:
        return "done"
    if end.status == "failed" or end.status == "rejected":
        return end.status
    return "released"


async def refuse_detached(deps: Deps) -> None:
    """Raise GitError where accepted work could not be merged in the end: now, and not after it is paid for."""
    if deps.settings.land == "merge" and await deps.workspace.branch() is None:
        raise detached()


def refuse_keyless(issue: Issue, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes) -> None:
    """Raise ModelAuthError, before the issue is claimed, where no model that its work begins with has a key."""
    settings = deps.settings
    if deps.models.scripted or settings.routing.mode != "direct":
        return
    try:
        route = deps.router.route(issue)
        pipeline = staffed(load_pipeline(wishes.pipeline or route.pipeline), route, settings, wishes)
    except HarnessError:
        return  # the issue's own trouble, told when it is worked
    for phase in pipeline.phases:
        # Agents may have a login of their own, and whether there is a review is not known yet.
        if phase.kind == "plan" or phase.executor == "tool_loop":
            require_key(settings.pool(phase.tier or route.tier).models, settings.providers, environment())


class Taker:
    """Claims issues for one actor and settles every claim.

    With `claims` each claim is noted before it is made and crossed out when it is settled, so that whoever comes after
    a crash can give it back.
    """

    def __init__(self, deps: Deps, judge: Judge = verdict, claims: Claims | None = None) -> None:
        self._deps, self._judge, self._claims = deps, judge, claims

    async def claim(self, issue_id: str) -> Issue | None:
        """The issue as it is now that it is ours; None when somebody was quicker."""
        if self._claims:
            self._claims.note(issue_id, self._deps.actor)
        if await self._deps.tracker.claim(issue_id, self._deps.actor):
            issue = await self._deps.tracker.get(issue_id)
            if issue.assignee == self._deps.actor:
                return issue
        self._settled(issue_id)
        return None

    async def take_over(self, issue: Issue) -> Issue:
        """Claim an issue that a worker which is gone still holds; raises TrackerError when its holder may be alive.

        The caller holds the issue's lock: a harness that had begun it in this repository is not there any more.
        """
        holder = (await self._deps.tracker.get(issue.id)).assignee or "somebody else"
        resuming = await begun(issue.id, self._deps) is not None
        if (resuming and holder.startswith("harness@")) or is_dead(holder):
            await self._deps.tracker.release(issue.id, f"taken over from {holder}, which is gone", holder)
            if (mine := await self.claim(issue.id)) is not None:
                return mine
        cure = f"release it if that is stale, e.g.: bd update {issue.id} --status open"
        raise TrackerError(f"{issue.id} is claimed by {holder}", cure)

    async def work(self, issue: Issue, run: Callable[[], Awaitable[Run]]) -> End:
        """Run a claimed issue and settle the claim, whatever happens; a cancellation settles it, too."""
        try:
            ended = await run()
            end = End(self._judge(ended), ended)
        except HarnessError as trouble:
            end = End(self._judge(trouble), await begun(issue.id, self._deps), trouble)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._give_back(issue, STOPPED)
            raise
        try:
            with anyio.CancelScope(shield=True):  # a verdict that is there must not become a release
                await self._settle(issue, end)
        except HarnessError as refusal:
            return replace(end, unsettled=refusal)
        return end

    async def _settle(self, issue: Issue, end: End) -> None:
        if end.kind == "done":
            self._settled(issue.id)
        elif end.kind == "released":
            await self._give_back(issue, f"{_reason(end)}\n{_way_on(issue, end.run)}")
        else:
            number, most = await self._attempts(issue), self._deps.settings.queue.max_attempts_per_issue
            stuck = number >= most
            again = f"it is left alone until the label {STUCK} is removed" if stuck else "harness work tries again"
            lines = [_reason(end), f"That was attempt {number} of {most}; {again}.", _by_hand(issue, end.run)]
            await self._give_back(issue, "\n".join(lines), [LABELS[end.kind], *([STUCK] if stuck else [])])

    async def _give_back(self, issue: Issue, why: str, labels: Sequence[str] = ()) -> None:
        await self._deps.tracker.release(issue.id, f"harness: {why}", self._deps.actor, labels)
        self._settled(issue.id)

    def _settled(self, issue_id: str) -> None:
        if self._claims:
            self._claims.cross_out(issue_id)

    async def _attempts(self, issue: Issue) -> int:
        """How often the issue has failed, this time included."""
        ended = sum(run.status in LABELS for run in await self._deps.journal.runs(issue=issue.id))
        # Labels outlive a journal: a fresh clone in CI knows an earlier failure by them alone.
        return max(ended, 1 + sum(label in issue.labels for label in LABELS.values()))


async def take_issue(
    issue_id: str, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes | None = None, meter: Meter | None = None
) -> Run:
    """Claim the issue, run it, and give it back unless it was accepted; a closed or foreign issue is an error.

    An unfinished run of the issue is gone on with, whoever's dead process began it.
    """
    issue = await deps.tracker.get(issue_id)
    if issue.status == "closed":
        raise TrackerError(f"{issue_id} is closed", f"reopen it first, e.g.: bd reopen {issue_id}")
    wishes = wishes or Wishes()
    refuse_keyless(issue, deps, load_pipeline, wishes)
    if await begun(issue.id, deps) is None:
        await refuse_detached(deps)
    taker = Taker(deps)
    with run_lock(deps.settings.state, f"issue-{issue.id}"):
        mine = await taker.claim(issue.id) or await taker.take_over(issue)
        end = await taker.work(mine, lambda: run_issue(mine, deps, load_pipeline, wishes, meter))
    if (trouble := end.trouble or end.unsettled) is not None:
        raise trouble
    assert end.run is not None
    return end.run


# ── what the issue is told ────────────────────────────────────────────────────────────────────────────────────


def _reason(end: End) -> str:
    """What happened, and what is kept."""
    if end.trouble is not None:
        # The cure of trouble that is not the issue's own is for who runs the harness, not for the tracker.
        cure = f"\n{end.trouble.hint}" if end.trouble.hint and not isinstance(end.trouble, EVERYBODYS) else ""
        return f"{'stopped' if end.kind == 'released' else end.kind}: {end.trouble.message}{cure}"
    assert end.run is not None
    cure = f"\n{end.run.hint}" if end.run.hint else ""
    kept = (
        f"\nFinished work is kept on branches harness/{end.run.id}/…" if any(r.commit for r in end.run.results) else ""
    )
    return f"{end.run.id}: {end.run.status.replace('_', ' ')}: {end.run.error or 'not accepted'}{cure}{kept}"


def _way_on(issue: Issue, run: Run | None) -> str:
    if run is not None and run.status in UNFINISHED:
        return f"It goes on where it stopped: harness resume {run.id}, or the next harness work."
    return f"Begin it again: harness run {issue.id}, or the next harness work."


def _by_hand(issue: Issue, run: Run | None) -> str:
    look = f"Look at it: harness show {run.id}. " if run else ""
    return f"{look}By hand: harness run {issue.id} --worker TIER"
