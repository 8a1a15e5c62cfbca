"""One issue taken: claimed, worked under its lock, and given back with the reason when it was not accepted."""

from __future__ import annotations

from harness.budget import Meter
from harness.claims import is_dead
from harness.engine import LoadPipeline, Wishes, run_issue, unfinished
from harness.errors import HarnessError, ModelAuthError, TrackerError
from harness.protocols import Deps
from harness.stop import run_lock
from harness.types import Issue, Run

LABELS = {"failed": "harness:failed", "rejected": "harness:rejected"}
"""Run status → the label its issue gets when it is given back."""


async def take_issue(
    issue_id: str, deps: Deps, load_pipeline: LoadPipeline, wishes: Wishes | None = None, meter: Meter | None = None
) -> Run:
    """Claim the issue, run it, and release it unless it was accepted; a closed or foreign issue is an error.

    An unfinished run of the issue is gone on with, whoever's dead process began it.
    """
    issue = await deps.tracker.get(issue_id)
    if issue.status == "closed":
        raise TrackerError(f"{issue_id} is closed", f"reopen it first, e.g.: bd reopen {issue_id}")
    before = await unfinished(issue.id, deps)
    with run_lock(deps.settings.state, f"issue-{issue.id}"):
        await _claim(issue, deps, resuming=before is not None)
        try:
            run = await run_issue(issue, deps, load_pipeline, wishes or Wishes(), meter)
        except HarnessError as trouble:
            cure = f"\n{trouble.hint}" if trouble.hint and not isinstance(trouble, ModelAuthError) else ""
            await deps.tracker.release(issue.id, f"harness stopped: {trouble.message}{cure}", deps.actor)
            raise
        if not run.accepted:
            await give_back(run, deps)
    return run


async def give_back(run: Run, deps: Deps) -> None:
    """Release the issue of a run that was not accepted: open, labelled where it failed, with why and how to retry."""
    kept = f"\nFinished work is kept on branches harness/{run.id}/…" if any(r.commit for r in run.results) else ""
    retry = (
        f"resume it: harness resume {run.id}"
        if run.status in ("interrupted", "over_budget")
        else (f"retry it: harness run {run.issue.id} --worker TIER, or look at harness report {run.id}")
    )
    label = LABELS.get(run.status)
    why = f"harness {run.id}: {run.status}. {run.error or ''}{kept}\nTo {retry}"
    await deps.tracker.release(run.issue.id, why, deps.actor, [label] if label else [])


async def _claim(issue: Issue, deps: Deps, resuming: bool) -> None:
    if await deps.tracker.claim(issue.id, deps.actor):
        return
    holder = (await deps.tracker.get(issue.id)).assignee or "somebody else"
    # Its lock was free, so whoever claimed it here is gone: the claim is taken over, with an unfinished run if any.
    if (resuming and holder.startswith("harness@")) or is_dead(holder):
        await deps.tracker.release(issue.id, f"taken over from {holder}, which is gone", holder)
        if await deps.tracker.claim(issue.id, deps.actor):
            return
    raise TrackerError(
        f"{issue.id} is claimed by {holder}", f"release it if that is stale, e.g.: bd update {issue.id} --status open"
    )
