"""Plan: an issue → a valid task graph, by the planner's tier; one repair, told the errors, then escalation."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from harness.budget import Meter, paid
from harness.errors import ModelNonsense, PlanError
from harness.graph import check_plan
from harness.prompts import DATA_RULE, as_data, issue_as_data, listing
from harness.protocols import Deps, StepLog
from harness.types import (
    Issue,
    Message,
    ModelCall,
    ModelReply,
    ModelRequest,
    Phase,
    Plan,
    Run,
    Task,
    Text,
    TierPool,
    Value,
)

RULES = """You are the planner. Split the issue into tasks that engineers with little context can do side by side.

- A task is one bounded change that one person can make and check alone; say exactly what to do, where, and how to tell
  that it is right. Whoever does it sees the issue, the list of tasks and the repository, and not your thoughts.
- `files` is the task's scope: the paths or globs it may change. Tasks that may change the same file need an order
  (`depends_on`). Prefer disjoint scopes, so that they can be done at the same time.
- `verify` holds shell commands that succeed only when the task is done, run in the repository's root. Use the
  repository's own test runner; leave it empty rather than invent one.
- `tier` is null unless a task clearly needs a stronger engineer than the rest.
- One task is a good plan for a small issue. Splitting costs money: do it only where it pays."""

TASK_FIELDS = ("id", "title", "instructions", "files", "depends_on", "verify", "tier")


class PlanAnswer(Value):
    """A plan and the calls it took."""

    plan: Plan
    calls: tuple[ModelCall, ...]


async def plan(run: Run, phase: Phase, deps: Deps, meter: Meter, log: StepLog) -> Run:
    """The run with its plan; raises PlanError when no tier of the ladder gives a valid one."""
    files = await deps.workspace.files(run.base)
    given = await given_tasks(run.issue, deps)
    answer = await paid(
        log, meter, f"{phase.id}/plan", PlanAnswer, lambda: _ask_up_the_ladder(run, phase, deps, meter, files, given)
    )
    return run.grown(plan=answer.plan, other_calls=run.other_calls + answer.calls)


async def given_tasks(issue: Issue, deps: Deps) -> tuple[Task, ...]:
    """An epic's open children as the nodes a plan starts from, with their dependencies as edges."""
    children = [child for child in await deps.tracker.children(issue.id) if child.status != "closed"]
    ids = {child.id for child in children}
    return tuple(
        Task(
            id=child.id,
            title=child.title,
            instructions=child.body or child.title,
            files=child.files,
            depends_on=tuple(blocker for blocker in child.blocked_by if blocker in ids),
        )
        for child in children
    )


def static_plan(run: Run, phase: Phase, files: tuple[str, ...], tiers: tuple[str, ...]) -> Plan:
    """The plan of a pipeline that brings its own tasks, or the one-task plan of one that has no planner."""
    tasks = phase.tasks
    if not tasks:
        issue = run.issue
        body = issue.body.strip()
        tasks = (Task(id="work", title=issue.title, instructions=body or issue.title, files=()),)
    return check_plan(Plan(summary=run.issue.title, tasks=tasks), files, max(phase.max_tasks, len(tasks)), tiers)


def answer_schema(tiers: tuple[str, ...]) -> dict[str, Any]:
    """JSON Schema of a plan, strict enough for structured output: every field required, no others."""
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    fields = {
        "id": text,
        "title": text,
        "instructions": text,
        "files": texts,
        "depends_on": texts,
        "verify": texts,
        "tier": {"anyOf": [{"type": "string", "enum": list(tiers)}, {"type": "null"}]},
    }
    task = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"summary": text, "tasks": {"type": "array", "items": task}},
        "required": ["summary", "tasks"],
        "additionalProperties": False,
    }


def as_markdown(issue: Issue, plan: Plan) -> str:
    """`task_breakdown.md`: the plan for people."""
    lines = [f"# {issue.id}: {issue.title}", "", plan.summary, ""]
    for task in plan.tasks:
        after = f" — after {', '.join(task.depends_on)}" if task.depends_on else ""
        lines += [f"## {task.id}: {task.title}{after}", "", task.instructions, ""]
        lines += [f"- files: {', '.join(f'`{path}`' for path in task.files)}"] if task.files else []
        lines += [f"- verify: `{command}`" for command in task.verify]
        lines += [f"- tier: {task.tier}"] if task.tier else []
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


async def _ask_up_the_ladder(
    run: Run, phase: Phase, deps: Deps, meter: Meter, files: tuple[str, ...], given: tuple[Task, ...]
) -> PlanAnswer:
    settings = deps.settings
    tiers = tuple(settings.tiers)
    calls: list[ModelCall] = []
    problems: tuple[str, ...] = ()
    attempt = 0
    for pool in settings.ladder(phase.tier or settings.planner)[:2]:
        earlier: tuple[Message, ...] = ()
        for turn in (1, 2):
            attempt += 1
            request = _request(
                run, phase, pool, files, given, tiers, earlier, attempt, settings.limits.max_output_tokens
            )
            reply = await deps.models.complete(request, meter)
            calls.append(reply.call)
            try:
                plan = check_plan(_read(reply), files, phase.max_tasks, tiers)
            except PlanError as error:
                problems = error.problems
                if turn == 1:
                    earlier = _with_feedback(request.messages, reply, problems)
                continue
            return PlanAnswer(plan=plan, calls=tuple(calls))
    raise PlanError(problems)


def _request(
    run: Run,
    phase: Phase,
    pool: TierPool,
    files: tuple[str, ...],
    given: tuple[Task, ...],
    tiers: tuple[str, ...],
    earlier: tuple[Message, ...],
    attempt: int,
    max_tokens: int,
) -> ModelRequest:
    parts = [
        "The issue:\n" + issue_as_data(run.issue),
        "Files in the repository:\n" + as_data("files", listing(files)),
        f"At most {phase.max_tasks} tasks. Tiers, from cheap to strong: {', '.join(tiers)}.",
    ]
    if given:
        nodes = json.dumps(
            [task.model_dump(include={"id", "title", "instructions", "depends_on"}) for task in given], indent=1
        )
        parts.append(
            "The issue already has these parts, which are the nodes of your graph; keep their ids and dependencies. "
            "You may split one further as ID-1, ID-2, ….\n" + as_data("parts", nodes)
        )
    return ModelRequest(
        pool=pool,
        system=(Text(text=f"{RULES}\n\n{DATA_RULE}", cache=True),),
        messages=earlier or (Message(role="user", content=(Text(text="\n\n".join(parts)),)),),
        answer_schema=answer_schema(tiers),
        max_output_tokens=max_tokens,
        affinity=f"{run.id}/plan",
        phase="plan",
        issue_id=run.issue.id,
        run_id=run.id,
        attempt=attempt,
    )


def _read(reply: ModelReply) -> Plan:
    """The reply as a plan; raises PlanError with sentences the planner can act on."""
    try:
        data = json_in(reply.text)
    except ModelNonsense as error:
        raise PlanError([error.message]) from None
    if isinstance(data, dict) and isinstance(data.get("tasks"), list):
        known = [
            {key: task[key] for key in TASK_FIELDS if task.get(key) is not None} if isinstance(task, dict) else task
            for task in data["tasks"]
        ]
        data = {"summary": data.get("summary", ""), "tasks": known}
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise PlanError(
            f"{'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}" for problem in error.errors()
        ) from None


def json_in(text: str) -> Any:
    """The JSON value in a model's answer, with or without a code fence; raises ModelNonsense."""
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    if start >= 0:
        try:
            return json.JSONDecoder().raw_decode(text[start:])[0]
        except json.JSONDecodeError as error:
            raise ModelNonsense(f"the answer is not valid JSON: {error.msg} at character {error.pos + start}") from None
    raise ModelNonsense("the answer holds no JSON object")


def _with_feedback(messages: tuple[Message, ...], reply: ModelReply, problems: tuple[str, ...]) -> tuple[Message, ...]:
    listed = "\n".join(f"- {problem}" for problem in problems)
    said = Message(role="assistant", content=(Text(text=reply.text or "(no text)"),))
    text = Text(text=f"That plan cannot be used:\n{listed}\nAnswer again with a whole, corrected plan.")
    return (*messages, said, Message(role="user", content=(text,)))
