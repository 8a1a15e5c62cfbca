"""Deploy a convoy: its open issues become one piece of work, done here, or are handed out to Gas Town's own workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.settings import Settings
from harness.engine import LoadPipeline, Wishes, run_issue
from harness.errors import IssueNotFound, TrackerError
from harness.protocols import Deps, Router, Tracker
from harness.stop import run_lock
from harness.trackers import record
from harness.trackers.beads import BeadsTracker
from harness.trackers.gastown import Convoy, ConvoyTracker, Town, agent_name, gt, in_order, sling
from harness.types import Issue, RouteDecision, Run

PIPELINE = "plan-execute-review"
REVIEW = "harness:convoy-review"
"""Label of the issue in which Gas Town's reviewer looks at the merged whole."""
KEPT = frozenset({"interrupted", "over_budget"})
"""Ends of a run after which the same command goes on, so that its issues stay claimed."""


@dataclass(frozen=True)
class Left:
    """An issue of the convoy that is left alone."""

    id: str
    why: str
    in_flight: bool
    """Somebody is at it, so that it will be closed some day; else it is another rig's."""


@dataclass(frozen=True)
class Manifest:
    """A convoy sorted into what will be worked on and what is left alone."""

    convoy: Convoy
    rig: str
    members: tuple[Issue, ...]
    """Each after those that block it."""
    left: tuple[Left, ...] = ()
    finished: tuple[Issue, ...] = ()

    @property
    def in_flight(self) -> bool:
        """Whether somebody else is at an issue of the convoy."""
        return any(left.in_flight for left in self.left)


def rig_tracker(settings: Settings, town: Town, rig: str) -> BeadsTracker:
    """The tracker of a rig's issues, asked from where its database lies."""
    return BeadsTracker(settings.model_copy(update={"root": town.root / rig}))


def repository(town: Town, start: Path, convoy: Convoy) -> tuple[str, Path | None]:
    """The rig to deploy in, and its clone where `start` is in none; raises TrackerError when that is not clear."""
    rigs = sorted({rig for rig in map(town.rig_of, convoy.tracked) if rig is not None})
    here = town.rig_at(start)
    if here is not None:
        return here, None
    if len(rigs) != 1:
        told = f"its issues are of {', '.join(rigs)}" if rigs else "none of its issues is of a rig"
        raise TrackerError(f"convoy {convoy.id}: {told}", "say where to work: harness -C <town>/<rig>/crew/<you>")
    return rigs[0], town.root / rigs[0] / "mayor" / "rig"


async def manifest(convoy: Convoy, town: Town, rig: str, tracker: Tracker, actor: str) -> Manifest:
    """Ask Beads for every issue of the convoy and sort them; nothing is changed."""
    members, left, finished = [], [], []
    for issue_id in convoy.tracked:
        home = town.rig_of(issue_id)
        if home not in (rig, None):
            left.append(Left(issue_id, f"is rig {home}'s", False))
            continue
        try:
            issue = await tracker.get(issue_id)
        except IssueNotFound:
            left.append(Left(issue_id, f"is not among the issues of rig {rig}", False))
            continue
        if issue.status in record.OVER:
            finished.append(issue)
        elif issue.assignee not in (None, actor) or (issue.status != "open" and issue.assignee != actor):
            holder = f" with {issue.assignee}" if issue.assignee else ""
            left.append(Left(issue_id, f"is {issue.status}{holder}", True))
        else:
            members.append(issue)
    return Manifest(convoy, rig, tuple(in_order(members)), tuple(left), tuple(finished))


def actor_of(convoy: Convoy) -> str:
    """Who holds the convoy's issues: the same after a crash, so that the same command finds its own again."""
    return f"harness/{convoy.id}"


# ── here ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def deploy_here(
    sorted_out: Manifest, tracker: Tracker, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes
) -> Run:
    """Claim the members, take the convoy through the engine as one issue, and give back what did not pass."""
    actor = actor_of(sorted_out.convoy)
    epic = ConvoyTracker(sorted_out.convoy, [issue.id for issue in sorted_out.members], tracker)
    deps = replace(deps, tracker=epic, actor=actor)
    async with _claimed(epic, sorted_out.convoy, deps) as keep:
        run = await run_issue(await epic.epic(), deps, load_pipeline, wishes)
        keep(run)
    return run


@asynccontextmanager
async def _claimed(epic: ConvoyTracker, convoy: Convoy, deps: Deps) -> AsyncIterator[Callable[[Run], None]]:
    """Hold all members; afterwards those of a run that failed are given back with its reason."""
    ended: list[Run] = []
    with run_lock(deps.settings.state, convoy.id):
        if not await epic.claim(convoy.id, deps.actor):
            raise TrackerError(f"an issue of {convoy.id} was taken in the meantime", "run the same command again")
        yield ended.append
        # A crash or an interrupt leaves the claims: the same command goes on with them.
        for run in ended:
            if not run.accepted and run.status not in KEPT:
                await epic.release(convoy.id, f"{run.id}: {run.status}: {run.error or 'not accepted'}", deps.actor)


def waiting_for_merge(runs: Sequence[Run], convoy: Convoy) -> Run | None:
    """The convoy's latest run, where it is done and its branch awaits the user's merge."""
    latest = next((run for run in runs if run.issue.id == convoy.id), None)
    done = latest is not None and latest.accepted and latest.landing is not None and latest.landing.mode != "merge"
    return latest if done else None


# ── by Gas Town's workers ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Slung:
    """An issue handed to Gas Town."""

    issue_id: str
    agent: str
    reason: str


@dataclass(frozen=True)
class Hands:
    """What a round of handing out needs."""

    town: Town
    tracker: Tracker
    router: Router
    executor: str | None
    reviewer: str | None
    tell: Callable[[str], None]


async def hand_out(sorted_out: Manifest, hands: Hands) -> tuple[list[Slung], list[str]]:
    """Sling every member that nothing holds back; returns what was slung, and the ids that wait for others.

    When all work is closed, the review of the whole is slung as the last.
    """
    work = [issue for issue in sorted_out.members if REVIEW not in issue.labels]
    slung, waiting = [], []
    for issue in work:
        if issue.blocked_by:
            waiting.append(issue.id)
            continue
        decision = hands.router.route(issue)
        tier = hands.executor or decision.tier
        reason = "as --executor says" if hands.executor else decision.reason
        slung.append(await _sling(issue.id, tier, reason, sorted_out.rig, hands))
    if not work and not sorted_out.in_flight:
        slung += await _review(sorted_out, hands)
    return slung, waiting


async def _review(sorted_out: Manifest, hands: Hands) -> list[Slung]:
    known = [issue for issue in (*sorted_out.members, *sorted_out.finished) if REVIEW in issue.labels]
    open_review = next((issue for issue in known if issue.status not in record.OVER), None)
    reviewed = [issue for issue in sorted_out.finished if REVIEW not in issue.labels]
    if (known and open_review is None) or not reviewed or not (hands.reviewer or any(map(critical, reviewed))):
        return []
    tier = hands.reviewer or "opus"
    issue_id = open_review.id if open_review else await _file_review(sorted_out.convoy, reviewed, hands)
    return [await _sling(issue_id, tier, "the review of the merged whole", sorted_out.rig, hands)]


def critical(issue: Issue) -> bool:
    """Whether an issue is one that a strong reviewer should see: as the built-in pipeline's trigger has it."""
    return issue.priority == 0 or not {"security", "critical", "complexity:complex"}.isdisjoint(issue.labels)


async def _file_review(convoy: Convoy, reviewed: Sequence[Issue], hands: Hands) -> str:
    listed = "\n".join(f"- {issue.id}: {issue.title}" for issue in reviewed)
    draft = Issue(
        id="",
        title=f"Review convoy {convoy.id} as a whole: {convoy.title}",
        body=f"The work of these issues is merged. Does the merged result do what they ask, together?\n\n{listed}",
        labels=(REVIEW, f"model:{hands.reviewer or 'opus'}"),
        priority=min(issue.priority for issue in reviewed),
    )
    issue_id = await hands.tracker.file(draft, "", actor_of(convoy))
    said = await gt(["convoy", "add", convoy.id, issue_id], hands.town.root)
    if not said.ok:
        raise TrackerError(f"gt convoy add {convoy.id} {issue_id}: {said.output.strip()[:200]}")
    return issue_id


async def _sling(issue_id: str, tier: str, reason: str, rig: str, hands: Hands) -> Slung:
    agent = agent_name(tier)
    hands.tell(f"gt sling {issue_id} {rig} --agent {agent}")
    await sling(issue_id, rig, agent, hands.town.root)
    return Slung(issue_id, agent, reason)


def against_baseline(decision: RouteDecision, baseline: str) -> str:
    """A route's cost beside its baseline: `$0.0030 vs $0.0300 with sonnet (90 % less)`."""
    cost, other = decision.estimated_cost, decision.baseline_cost
    if cost is None or other is None:
        return "cost unknown: a model of the tier has no published price"
    if other == 0 or cost == other:
        return f"${cost:.4f}, the same as with {baseline}"
    change = (cost - other) / other
    return f"${cost:.4f} vs ${other:.4f} with {baseline} ({abs(change):.0%} {'less' if change < 0 else 'more'})"
