"""`harness plan`: the planner's task graph of an issue, shown and written; spends only the planner's call."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import anyio

from harness import registry
from harness.budget import Meter
from harness.cli.common import common_options, put_json, say, show
from harness.cli.running import run_options, settings_of, wishes_of
from harness.config.settings import Settings
from harness.engine import staffed
from harness.graph import critical, order
from harness.phases.plan import as_markdown, plan
from harness.protocols import StepLog
from harness.types import Phase, Run

EXAMPLES = """examples:
  harness plan bd-a3f8                  a table, and .harness/plans/bd-a3f8/task_breakdown.md
  harness plan bd-a3f8 --planner opus
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("issue", metavar="ISSUE", help="the issue's id in the tracker")
    run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    return anyio.run(_plan, arguments, settings_of(arguments))


async def _plan(arguments: argparse.Namespace, settings: Settings) -> int:
    wishes = wishes_of(arguments)
    async with registry.build(settings) as deps:
        issue = await deps.tracker.get(arguments.issue)
        route = deps.router.route(issue)
        name = wishes.pipeline or route.pipeline
        pipeline = staffed(registry.pipeline(name, settings), route, settings, wishes)
        phase = pipeline.phase("plan") or Phase(id="plan", kind="plan", tier=wishes.planner or settings.planner)
        # A plan that is only looked at has an id of its own each time, so that asking again asks again.
        stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S%f")
        base = await deps.workspace.resolve("HEAD")
        draft = Run(id=f"{issue.id}-plan-{stamp}", issue=issue, route=route, pipeline=pipeline, base=base)
        meter = Meter(wishes.budget, name="run")
        planned = await plan(draft, phase, deps, meter, StepLog(deps.journal, draft.id))
    assert planned.plan is not None
    folder = settings.state / "plans" / issue.id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (phase.output or "task_breakdown.md")
    path.write_text(as_markdown(issue, planned.plan), encoding="utf-8")
    if arguments.json:
        put_json({"plan": planned.plan, "usage": planned.usage, "written": str(path)})
        return 0
    lengths = critical(planned.plan)
    show(planned.plan.summary, "")
    rows = [("task", "after", "tier", "path", "files", "title")]
    for task in order(planned.plan):
        after, files = ", ".join(task.depends_on) or "-", ", ".join(task.files) or "any"
        row = (task.id, after, task.tier or "-", f"{lengths[task.id]:g}", files, task.title)
        rows += [row]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        show("  ".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)).rstrip())
    say(f"\nwritten to {path}; the planner's call cost ${planned.usage.cost_usd:.4f}")
    return 0
