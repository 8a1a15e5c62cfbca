"""What happened in a run, in sentences: how it was routed and split, what went wrong, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.report.parts import count
from harness.types import Attempt, Run, TaskResult

TOLD = 6
"""Tasks with troubles that are told one by one."""


def story(run: Run) -> list[str]:
    """One sentence or two a step, in the order of the run."""
    return [*_begun(run), *_worked(run), *_redone(run), *_reviewed(run), *_ended(run)]


def _begun(run: Run) -> Iterator[str]:
    route = run.route
    yield f"Routed to {route.tier} by “{route.rule}”: {route.reason}."
    if run.plan is None:
        return
    planner = next((call.tier for call in run.other_calls if call.phase == "plan"), None)
    tasks = len(run.plan.tasks)
    if planner is None:
        yield "Worked without a planner" + (", as one task." if tasks == 1 else f", as {tasks} tasks.")
    elif tasks == 1:
        yield f"A planner ({planner}) found it to be one task."
    else:
        yield f"A planner ({planner}) split it into {tasks} tasks."


def _worked(run: Run) -> Iterator[str]:
    first: Counter[str] = Counter()
    troubled = []
    for result in run.results:
        if result.status == "done" and len(result.attempts) == 1:
            first[result.attempts[0].tier] += 1
        elif result.attempts:
            troubled.append(result)
    if first:
        by = ", ".join(f"{number} by {tier}" for tier, number in first.items())
        yield f"{count(sum(first.values()), 'task')} passed at the first attempt ({by})."
    yield from map(_troubled, troubled[:TOLD])
    if len(troubled) > TOLD:
        yield f"{len(troubled) - TOLD} more tasks needed several attempts or failed."
    skipped = sum(result.status == "skipped" for result in run.results)
    if skipped:
        yield f"{count(skipped, 'task')} could not begin: what came before had failed."


def _troubled(result: TaskResult) -> str:
    tries: list[tuple[str, list[Attempt]]] = []
    for attempt in result.attempts:
        if not tries or tries[-1][0] != attempt.tier:
            tries.append((attempt.tier, []))
        tries[-1][1].append(attempt)
    parts = []
    for tier, own in tries:
        failed = [attempt for attempt in own if attempt.outcome != "passed"]
        if failed:
            times = "" if len(failed) == 1 else " twice" if len(failed) == 2 else f" {len(failed)} times"
            parts.append(f"{tier} did not pass{times} ({_why(failed)})")
        if len(failed) < len(own):
            parts.append(f"{tier} solved it")
    end = "" if result.status == "done" else "; it stayed undone"
    return f"{result.task_id}: {', then '.join(parts)}{end}."


def _why(failed: Sequence[Attempt]) -> str:
    check = next((check for check in failed[-1].checks if not check.ok), None)
    return f"{check.command}: exit {check.exit_code}" if check else failed[-1].outcome.replace("_", " ")


def _redone(run: Run) -> Iterator[str]:
    merged = run.integration
    for task in dict.fromkeys(result.task_id for result in run.superseded):
        if merged and task in merged.conflicts:
            why = "its work and another task's changed the same lines"
        elif merged and task in merged.broken:
            why = "together with the others' it failed verification, though each had passed alone"
        else:
            why = "the review asked for more"
        yield f"{task} was redone on top of the merged work: {why}."


def _reviewed(run: Run) -> Iterator[str]:
    if run.reviews:
        verdicts = ", then ".join(review.verdict for review in run.reviews)
        findings = sum(len(review.findings) for review in run.reviews)
        yield f"Reviewed: {verdicts}, with {count(findings, 'finding') if findings else 'no findings'}."
    elif run.status == "done":
        yield "No review: nothing about the issue called for one; the verification commands passed."


def _ended(run: Run) -> Iterator[str]:
    landing = run.landing
    if landing is not None:
        places = {"merge": f"merged into {landing.into}", "pr": f"offered as a pull request from {landing.branch}"}
        yield f"The work was verified as a whole and {places.get(landing.mode, f'put on the branch {landing.branch}')}."
    elif run.status == "running":
        yield "It is under way."
    elif run.status != "done":
        yield f"It ended as {run.status.replace('_', ' ')}" + (f": {run.error}." if run.error else ".")
