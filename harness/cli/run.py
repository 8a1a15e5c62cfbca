"""`harness run`: one issue to reviewed, merged code."""

from __future__ import annotations

import argparse

import anyio

from harness import registry
from harness.cli.common import common_options, put_json, say, show
from harness.cli.running import (
    exit_code,
    run_issue_now,
    run_options,
    settings_of,
    summary,
    summary_lines,
    wishes_of,
)
from harness.config.settings import Settings
from harness.engine import staffed
from harness.routing.router import build_router
from harness.types import Pipeline, RouteDecision

EXAMPLES = """examples:
  harness run bd-a3f8                          routed, worked, verified, reviewed where risk says so
  harness run bd-a3f8 --dry-run                who would do what, at which cost; nothing is called or claimed
  harness run bd-a3f8 --worker sonnet --budget-usd 0.50 --land merge

The same command goes on with an interrupted run; nothing is paid twice.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("issue", metavar="ISSUE", help="the issue's id in the tracker")
    run_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done; no call, no claim")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if not arguments.dry_run:
        finished = run_issue_now(arguments, settings, arguments.issue)
        if arguments.json:
            put_json(summary(finished, settings))
        else:
            show(*summary_lines(finished, settings))
        return exit_code(finished)
    return anyio.run(_dry, arguments, settings)


async def _dry(arguments: argparse.Namespace, settings: Settings) -> int:
    issue = await registry.tracker(settings).get(arguments.issue)
    route = build_router(settings).route(issue)
    wishes = wishes_of(arguments)
    pipeline = staffed(registry.pipeline(wishes.pipeline or route.pipeline, settings), route, settings, wishes)
    if arguments.json:
        put_json({"issue": issue, "route": route, "pipeline": pipeline})
    else:
        show(*_lines(route, pipeline))
        say(*(f"warning: {warning}" for warning in route.warnings))
    return 0


def _lines(route: RouteDecision, pipeline: Pipeline) -> list[str]:
    lines = [f"tier      {route.tier} ({route.model})", f"because   {route.reason}", f"pipeline  {pipeline.name}"]
    for phase in pipeline.phases:
        when = f", when {phase.trigger}" if phase.trigger else ""
        lines.append(f"  {phase.id}: {phase.kind} with {phase.tier}{when}")
    if route.estimated_cost is not None:
        lines.append(f"cost      about ${route.estimated_cost:.4f}")
    return [*lines, "nothing was called or claimed"]
