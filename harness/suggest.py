"""Labels issues that say nothing about their model with the tier the router would take; for `suggest_labels: true`."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import IssueNotFound
from harness.protocols import Router, Tracker
from harness.trackers import record
from harness.types import Issue, RouteDecision


async def suggest(ids: Iterable[str], tracker: Tracker, router: Router, actor: str) -> list[tuple[str, RouteDecision]]:
    """Suggest a tier for each of the issues that is open and has none; returns what was suggested.

    Trackers that cannot hold a suggestion (they have no `suggest`) get none; issues that have gone are passed over.
    """
    write = getattr(tracker, "suggest", None)
    made: list[tuple[str, RouteDecision]] = []
    if write is None:
        return made
    for issue_id in dict.fromkeys(ids):
        try:
            issue = await tracker.get(issue_id)
        except IssueNotFound:
            continue
        if wants_a_suggestion(issue):
            decision = router.route(issue)
            await write(issue.id, decision.tier, actor)
            made.append((issue.id, decision))
    return made


def wants_a_suggestion(issue: Issue) -> bool:
    """Open work on which nobody has said which model should do it."""
    return (
        issue.status == "open"
        and issue.type not in record.BOOKKEEPING
        and not issue.labelled("model")
        and "execution_suggested_model" not in issue.metadata
    )
