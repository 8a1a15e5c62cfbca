"""Review: where the trigger holds, a strong model reads the integrated diff and gives a structured verdict.

`revise` sends the named tasks back, on top of the integrated tree, with the findings as feedback; dependents are
verified again because the whole tree is. At most `max_rework` rounds; then the work is rejected with everything kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
from pydantic import ValidationError

from harness.budget import Meter, paid
from harness.errors import ModelNonsense
from harness.phases.integrate import Integrator
from harness.phases.plan import json_in
from harness.prompts import DATA_RULE, as_data, issue_as_data
from harness.protocols import Deps, StepLog
from harness.routing.trigger import Facts, parse
from harness.types import (
    Event,
    Finding,
    Integration,
    Issue,
    Message,
    ModelReply,
    ModelRequest,
    Phase,
    Review,
    Run,
    Task,
    TaskResult,
    Text,
)
from harness.worker import covers

RULES = """You are the reviewer. You read a change that has been made for an issue and has passed its checks.

Judge whether it does what the issue asks, correctly and safely, and whether the tests prove it. Look hard at what
machines do not check: wrong edge cases, security, data loss, races, work that only looks done.

- `approve`: it may be merged as it is. `revise`: it is worth fixing, and your findings say how. `reject`: the approach
  is wrong.
- Every finding names the path and line where it can, and the `task_id` of the task that should be redone.
- What is worth doing but is not this issue's business is a finding with `out_of_scope` true; it becomes an issue of its
  own and does not hold up this one."""

DIFF_CHARS = 120_000

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["approve", "revise", "reject"]},
        "summary": {"type": "string"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "severity": {"type": "string", "enum": ["critical", "major", "minor", "info"]},
                    "path": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "line": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "title": {"type": "string"},
                    "detail": {"type": "string"},
                    "task_id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "out_of_scope": {"type": "boolean"},
                },
                "required": ["severity", "path", "line", "title", "detail", "task_id", "out_of_scope"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["verdict", "summary", "findings"],
    "additionalProperties": False,
}

_RANK = {"approve": 0, "revise": 1, "reject": 2}


async def facts(run: Run, deps: Deps) -> Facts:
    """What a trigger may ask about this run."""
    assert run.integration is not None
    changed = await deps.workspace.changed(run.base, run.integration.commit)
    return facts_of(run.issue, changed, any(result.escalated for result in run.results), run.usage.cost_usd)


def facts_of(issue: Issue, changed: Sequence[str] = (), escalated: bool = False, cost: Any = 0) -> Facts:
    """An issue's facts, with what is known of the work on it so far."""
    return Facts(
        labels=issue.labels,
        type=issue.type,
        priority=issue.priority,
        title=issue.title,
        body=issue.body,
        files=tuple(changed) or issue.files,
        escalated=escalated,
        cost=cost,
    )


async def wanted(run: Run, phase: Phase, deps: Deps) -> bool:
    """Whether the phase's trigger holds for what the run has become; no trigger means always."""
    if phase.trigger is None:
        return True
    trigger = parse(phase.trigger, run.pipeline.source, ("phases", phase.id, "trigger"))
    return trigger.holds(await facts(run, deps))


async def review(run: Run, phase: Phase, integrator: Integrator, deps: Deps, meter: Meter, log: StepLog) -> Run:
    """The run with its reviews, reworked where they asked for it, approved or rejected."""
    for round in range(phase.max_rework + 1):
        verdict = await _panel(run, phase, round, deps, meter, log)
        run = run.grown(reviews=(*run.reviews, verdict))
        _tell(run, deps, verdict)
        if verdict.verdict == "approve":
            return run
        if verdict.verdict == "reject":
            return run.grown(status="rejected", error=f"the review rejected the work: {verdict.summary}")
        if round == phase.max_rework:
            return run.grown(
                status="rejected", error=f"still not approved after {round} rounds of rework: {verdict.summary}"
            )
        run = await _rework(run, verdict, integrator, deps)
        if run.status != "running":
            return run
    return run


async def _panel(run: Run, phase: Phase, round: int, deps: Deps, meter: Meter, log: StepLog) -> Review:
    """One verdict from all viewpoints, asked side by side: the strictest wins, findings are joined."""
    views = phase.panel or ("",)
    answers: dict[str, Review] = {}
    request = await _request(run, phase, round, deps)

    async def one(view: str) -> None:
        key = f"{phase.id}/review-{round}" + (f"-{view}" if view else "")
        answers[view] = await paid(
            log, meter, key, Review, lambda: _ask(_seen_as(request, view), run, round, deps, meter)
        )

    async with anyio.create_task_group() as group:
        for view in views:
            group.start_soon(one, view)
    reviews = [answers[view] for view in views]
    return Review(
        verdict=max((review.verdict for review in reviews), key=_RANK.__getitem__),
        summary=" ".join(review.summary for review in reviews).strip(),
        findings=tuple(finding for review in reviews for finding in review.findings),
        calls=tuple(call for review in reviews for call in review.calls),
        round=round,
    )


async def _request(run: Run, phase: Phase, round: int, deps: Deps) -> ModelRequest:
    assert run.integration is not None and run.plan is not None
    diff = await deps.workspace.diff(run.base, run.integration.commit)
    if len(diff) > DIFF_CHARS:
        changed = await deps.workspace.changed(run.base, run.integration.commit)
        diff = f"{diff[:DIFF_CHARS]}\n… the diff goes on; all changed files:\n" + "\n".join(changed)
    tasks = "\n".join(f"- {task.id}: {task.title} ({', '.join(task.files) or 'any file'})" for task in run.plan.tasks)
    checks = "\n".join(f"- {'ok' if check.ok else 'FAILED'}: {check.command}" for check in run.integration.checks)
    parts = [
        "The issue:\n" + issue_as_data(run.issue),
        "The tasks it was split into:\n" + as_data("plan", tasks),
        "Checks on the merged tree:\n" + as_data("checks", checks or "none are configured"),
        "The change:\n" + as_data("diff", diff),
    ]
    if run.reviews:
        listed = "\n".join(f"- {finding.title}: {finding.detail}" for finding in run.reviews[-1].findings)
        parts.append(
            "You asked for these corrections before; see whether they were made:\n" + as_data("findings", listed)
        )
    settings = deps.settings
    return ModelRequest(
        pool=settings.pool(phase.tier or settings.reviewer),
        system=(Text(text=f"{RULES}\n\n{DATA_RULE}", cache=True),),
        messages=(Message(role="user", content=(Text(text="\n\n".join(parts)),)),),
        answer_schema=SCHEMA,
        max_output_tokens=settings.limits.max_output_tokens,
        affinity=f"{run.id}/review",
        phase="review",
        issue_id=run.issue.id,
        run_id=run.id,
        attempt=round + 1,
    )


def _seen_as(request: ModelRequest, view: str) -> ModelRequest:
    if not view:
        return request
    angle = Text(text=f"You sit on a panel and look with the eyes of {view}; others look at the rest.")
    changes = {"system": (*request.system, angle), "affinity": f"{request.affinity}/{view}", "task_id": view}
    return request.model_copy(update=changes)


async def _ask(request: ModelRequest, run: Run, round: int, deps: Deps, meter: Meter) -> Review:
    """The verdict; one repair when the answer cannot be read; raises ModelNonsense."""
    assert run.plan is not None
    known = {task.id for task in run.plan.tasks}
    calls = []
    for attempt in (1, 2):
        reply = await deps.models.complete(request, meter)
        calls.append(reply.call)
        try:
            review = _read(reply, known)
        except ModelNonsense as error:
            if attempt == 2:
                raise
            said = Message(role="assistant", content=(Text(text=reply.text or "(no text)"),))
            asked = Message(role="user", content=(Text(text=f"That cannot be used: {error.message}. Answer again."),))
            request = request.model_copy(update={"messages": (*request.messages, said, asked), "turn": 2})
            continue
        return review.model_copy(update={"calls": tuple(calls), "round": round})
    raise AssertionError("unreachable")


def _read(reply: ModelReply, known: set[str]) -> Review:
    data = json_in(reply.text)
    try:
        review = Review.model_validate(data if not isinstance(data, dict) else {"findings": (), **data})
    except ValidationError as error:
        problem = error.errors()[0]
        raise ModelNonsense(f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}") from None
    findings = tuple(
        finding if finding.task_id in known else finding.model_copy(update={"task_id": None})
        for finding in review.findings
    )
    if review.verdict == "revise" and not any(not finding.out_of_scope for finding in findings):
        raise ModelNonsense("the verdict is 'revise', but no finding says what to revise")
    return review.model_copy(update={"findings": findings})


async def _rework(run: Run, verdict: Review, integrator: Integrator, deps: Deps) -> Run:
    """The tasks with findings done again on the integrated tree, merged onto it, and verified."""
    assert run.integration is not None and run.plan is not None
    results = {result.task_id: result for result in run.results}
    integrator.allowance += 1
    base = run.integration.commit
    redone: dict[str, TaskResult] = {}
    for task, findings in (await _assigned(run, verdict, deps)).items():
        feedback = "A reviewer read the merged work and asks for this:\n" + "\n".join(map(_as_feedback, findings))
        redone[task.id] = await integrator.redo(task, base, feedback, results[task.id])
    tasks = [task for task in run.plan.tasks if task.id in redone]
    merged = await integrator.merge(base, tasks, redone)
    latest = {**results, **redone, **merged.results}
    checks = await integrator.check(merged.commit)
    run = run.grown(
        results=tuple(latest[task.id] for task in run.plan.tasks),
        superseded=tuple(integrator.replaced),
        integration=Integration(
            commit=merged.commit,
            merged=run.integration.merged,
            conflicts=(*run.integration.conflicts, *merged.conflicts),
            broken=run.integration.broken,
            checks=checks,
        ),
    )
    if merged.failed is not None:
        return run.grown(status="failed", error=f"rework of {merged.failed.task_id} failed: {merged.failed.error}")
    if not all(check.ok for check in checks):
        return run.grown(
            status="failed", error="the tree fails verification after the rework that the review asked for"
        )
    await deps.workspace.keep(f"harness/{run.id}/integrated", merged.commit)
    return run


async def _assigned(run: Run, verdict: Review, deps: Deps) -> dict[Task, list[Finding]]:
    """Findings by the task that has to act: the one named, else the one whose files they are, else the last."""
    assert run.plan is not None
    tasks = {task.id: task for task in run.plan.tasks}
    results = {result.task_id: result for result in run.results}
    assigned: dict[str, list[Finding]] = {}
    for finding in verdict.findings:
        if finding.out_of_scope:
            continue
        owner = finding.task_id
        if owner is None and finding.path is not None:
            owner = next(
                (task.id for task in run.plan.tasks if any(covers(entry, finding.path) for entry in task.files)), None
            )
        if owner is None and finding.path is not None:
            for task_id, result in results.items():
                if result.commit and finding.path in await deps.workspace.changed(run.base, result.commit):
                    owner = task_id
        assigned.setdefault(owner or run.plan.tasks[-1].id, []).append(finding)
    return {tasks[name]: found for name, found in assigned.items()}


def _as_feedback(finding: Finding) -> str:
    place = f"{finding.path}{f':{finding.line}' if finding.line else ''}: " if finding.path else ""
    return f"- [{finding.severity}] {place}{finding.title}. {finding.detail}"


def _tell(run: Run, deps: Deps, verdict: Review) -> None:
    data = {
        "verdict": verdict.verdict,
        "round": verdict.round,
        "findings": len(verdict.findings),
        "summary": verdict.summary,
    }
    deps.emit(
        Event(run_id=run.id, issue_id=run.issue.id, kind="review", at=datetime.now(UTC), phase="review", data=data)
    )
