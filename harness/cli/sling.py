"""`harness sling`: read an issue, route it, say what that costs, and hand it to a rig's worker or do it here."""

from __future__ import annotations

import argparse
from typing import Any

import anyio

from harness import cli
from harness.cli.common import common_options, put_json, say, settings_from, show
from harness.convoy import against_baseline, rig_tracker
from harness.errors import TrackerError
from harness.protocols import Router, Tracker
from harness.routing.router import build_router
from harness.trackers.gastown import agent_name, find_town, sling
from harness.types import Issue, RouteDecision

EXAMPLES = """examples:
  harness sling cs-abc csm                 route it, then gt sling cs-abc csm --agent claude-haiku
  harness sling cs-abc csm --dry-run       only say what would be done
  harness sling cs-abc csm --via harness   do it here instead: harness run cs-abc
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("issue", metavar="ISSUE", help="the issue's id, e.g. cs-abc")
    parser.add_argument("rig", metavar="RIG", help="the rig whose worker gets it, e.g. csm")
    parser.add_argument("--via", choices=("gastown", "harness"), default="gastown",
                        help="a polecat of the routed tier (default), or this machine's harness")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="read and route, and stop there")


def run(arguments: argparse.Namespace) -> int:
    town = find_town(arguments.repo)
    if not (town.root / arguments.rig).is_dir():
        rigs = ", ".join(sorted({rig for rig in map(town.rig_of, town.routes) if rig})) or "none"
        raise TrackerError(f"no rig '{arguments.rig}' in {town.root}; known: {rigs}", "`gt rig list` shows them")
    clone = town.root / arguments.rig / "mayor" / "rig"
    if town.rig_at(arguments.repo) != arguments.rig and clone.is_dir():
        arguments.repo = clone  # its files and settings are what the issue is about
    settings = settings_from(arguments)
    router = build_router(settings)
    issue, decision = anyio.run(read_and_route, rig_tracker(settings, town, arguments.rig), router, arguments.issue)
    agent = agent_name(decision.tier)
    for line in explain(issue, decision, settings.routing.baseline_tier):
        (say if arguments.json else show)(line)
    command = f"gt sling {issue.id} {arguments.rig} --agent {agent}"
    if arguments.via == "harness":
        command = f"harness run {issue.id}"
    (say if arguments.json else show)(
        f"slinging:   {command}" + (" (not done: --dry-run)" if arguments.dry_run else "")
    )
    result: dict[str, Any] = {"issue": issue, "route": decision, "agent": agent, "command": command, "slung": False}
    code = 0
    if not arguments.dry_run and arguments.via == "gastown":
        said = anyio.run(sling, issue.id, arguments.rig, agent, town.root)
        result |= {"slung": True, "said": said}
        say(said)
    elif not arguments.dry_run:
        return cli.main(["run", issue.id, "-C", str(arguments.repo), *(["--json"] if arguments.json else [])])
    if arguments.json:
        put_json(result)
    return code


async def read_and_route(tracker: Tracker, router: Router, issue_id: str) -> tuple[Issue, RouteDecision]:
    """The issue as its tracker tells it, and the one routing logic's answer; raises TrackerError when it is taken."""
    issue = await tracker.get(issue_id)
    if issue.status != "open" or issue.assignee:
        held = f" with {issue.assignee}" if issue.assignee else ""
        ours = (issue.assignee or "").startswith("harness")
        cure = "`harness runs` tells of it" if ours else "`gt unsling` frees it"
        raise TrackerError(f"{issue.id} is {issue.status}{held}", f"a bead in flight is left alone; {cure}")
    return issue, router.route(issue)


def explain(issue: Issue, decision: RouteDecision, baseline: str) -> list[str]:
    """What was read, what matched, the route and its price, a line each."""
    labels = ", ".join(issue.labels) or "none"
    lines = [
        f"read:       {issue.id} “{issue.title}” (priority {issue.priority}, {issue.type}, labels: {labels})",
        f"matched:    {decision.rule}: {decision.reason}",
        f"route:      {decision.tier} ({decision.model}), agent {agent_name(decision.tier)}",
        f"cost:       {against_baseline(decision, baseline)}",
    ]
    return lines + [f"warning:    {warning}" for warning in decision.warnings]
