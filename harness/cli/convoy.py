"""`harness convoy deploy`: a planner reads a Gas Town convoy as a whole, workers swarm, the merge is reviewed."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from harness import registry
from harness.cli.common import common_options, put_json, say, settings_from, show
from harness.cli.options import dollars
from harness.config.settings import Settings
from harness.convoy import (
    PIPELINE,
    Hands,
    Manifest,
    actor_of,
    deploy_here,
    hand_out,
    manifest,
    repository,
    rig_tracker,
    waiting_for_merge,
)
from harness.engine import Wishes, report_text
from harness.report.experiments import record
from harness.routing.router import build_router
from harness.stop import Stop
from harness.trackers.gastown import Convoy, find_town, gt, read_convoy
from harness.types import Budget, Event, Run

EXAMPLES = """examples:
  harness convoy deploy hq-cv-abc --planner=sonnet --executor=haiku --reviewer=opus
  harness convoy deploy hq-cv-abc --dry-run          what would be done, and what is left alone
  harness convoy deploy hq-cv-abc --via gastown --watch   sling each issue to a polecat of its tier, review last

The same command goes on where it was interrupted. Beads in flight are left alone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="deploy")
    deploy = actions.add_parser("deploy", help="plan, swarm, merge, review", epilog=EXAMPLES,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    common_options(deploy)
    deploy.add_argument("convoy", metavar="CONVOY", help="the convoy's id, e.g. hq-cv-abc")
    deploy.add_argument("--planner", metavar="TIER", help="who analyses the convoy (default: as configured, sonnet)")
    deploy.add_argument("--executor", metavar="TIER", help="who does the work (default: as the pipeline says, haiku)")
    deploy.add_argument(
        "--reviewer", metavar="TIER", help="who reviews the merged result (default: as configured, opus)"
    )
    deploy.add_argument("--via", choices=("harness", "gastown"), default="harness",
                        help="do it here (default), or sling each issue to a polecat of its tier")  # fmt: skip
    deploy.add_argument("--budget-usd", type=dollars, metavar="USD", help="stop in good order at this cost")
    deploy.add_argument("--pipeline", default=PIPELINE, metavar="NAME", help=f"default: {PIPELINE}")
    deploy.add_argument("--watch", action="store_true", help="with --via gastown: go on until the convoy is done")
    deploy.add_argument("--dry-run", action="store_true", help="show what would be done")
    deploy.add_argument(
        "--again", action="store_true", help="deploy once more, though the last branch is not merged yet"
    )


def run(arguments: argparse.Namespace) -> int:
    return anyio.run(_deploy, arguments)


async def _deploy(arguments: argparse.Namespace) -> int:
    town = find_town(arguments.repo)
    convoy = await read_convoy(arguments.convoy, town.root)
    rig, clone = repository(town, arguments.repo, convoy)
    if clone is not None:
        say(f"working in {clone}")
        arguments.repo = clone
    settings = settings_from(arguments)
    for tier in filter(None, (arguments.planner, arguments.executor, arguments.reviewer)):
        settings.pool(tier)
    tracker = rig_tracker(settings, town, rig)
    sorted_out = await manifest(convoy, town, rig, tracker, actor_of(convoy))
    for line in _told(sorted_out):
        say(line)
    if arguments.dry_run or not (sorted_out.members or arguments.via == "gastown"):
        return _end(arguments, sorted_out, {"run": None, "slung": []}, 0)
    if arguments.via == "gastown":
        router = build_router(settings)
        hands = Hands(town, tracker, router, arguments.executor, arguments.reviewer, say)
        return await _by_gastown(arguments, settings, sorted_out, hands)
    return await _here(arguments, settings, sorted_out, tracker, town.root)


async def _here(
    arguments: argparse.Namespace, settings: Settings, sorted_out: Manifest, tracker: Any, town: Path
) -> int:
    stop = Stop(settings.state)
    wishes = Wishes(
        pipeline=arguments.pipeline,
        planner=arguments.planner,
        worker=arguments.executor,
        reviewer=arguments.reviewer,
        budget=Budget(usd=arguments.budget_usd),
    )
    finished: list[Run] = []
    async with registry.build(settings, [_line], stop.gate) as deps:
        earlier = waiting_for_merge(await deps.journal.runs(), sorted_out.convoy)
        if earlier is not None and not arguments.again:
            assert earlier.landing is not None
            say(f"{earlier.id} is done: branch {earlier.landing.branch} awaits your merge (--again deploys once more)")
            return _end(arguments, sorted_out, {"run": earlier, "slung": []}, 0)
        async with anyio.create_task_group() as group:
            group.start_soon(stop.watch, group.cancel_scope, say)
            load = partial(registry.pipeline, settings=settings)
            finished.append(await deploy_here(sorted_out, tracker, deps, load, wishes))
            group.cancel_scope.cancel()
    if not finished:
        return 130
    await record(finished[0], settings)
    if finished[0].accepted:
        await gt(["convoy", "check"], town)
    if not arguments.json:
        show(report_text(finished[0]))
    code = 0 if finished[0].accepted else 130 if finished[0].status == "interrupted" else 1
    return _end(arguments, sorted_out, {"run": finished[0], "slung": []}, code)


async def _by_gastown(arguments: argparse.Namespace, settings: Settings, sorted_out: Manifest, hands: Hands) -> int:
    slung, waiting = await hand_out(sorted_out, hands)
    total = list(slung)
    while arguments.watch and (waiting or slung or sorted_out.in_flight):
        await anyio.sleep(settings.queue.poll_seconds)
        convoy = await read_convoy(sorted_out.convoy.id, hands.town.root)
        sorted_out = await manifest(convoy, hands.town, sorted_out.rig, hands.tracker, actor_of(convoy))
        slung, waiting = await hand_out(sorted_out, hands)
        total += slung
    for issue_id in waiting:
        say(f"{issue_id} waits for others; the same command slings it when they are closed (or use --watch)")
    return _end(arguments, sorted_out, {"run": None, "slung": total, "waiting": waiting}, 0)


def _end(arguments: argparse.Namespace, sorted_out: Manifest, result: dict[str, Any], code: int) -> int:
    if arguments.json:
        slung = [vars(one) for one in result.get("slung", ())]
        put_json({
            "convoy": sorted_out.convoy,
            "rig": sorted_out.rig,
            "members": [issue.id for issue in sorted_out.members],
            "left_alone": [{"id": left.id, "why": left.why} for left in sorted_out.left],
            "waiting": result.get("waiting", []),
            "slung": slung,
            "run": result.get("run"),
        })  # fmt: skip
    return code


def _told(sorted_out: Manifest) -> list[str]:
    convoy: Convoy = sorted_out.convoy
    done = len(sorted_out.finished)
    lines = [f"convoy {convoy.id}: {convoy.title} ({done} of {len(convoy.tracked)} closed), rig {sorted_out.rig}"]
    for issue in sorted_out.members:
        after = f", after {', '.join(issue.blocked_by)}" if issue.blocked_by else ""
        lines.append(f"  {issue.id}: {issue.title}{after}")
    lines += [f"  {left.id} is left alone: it {left.why}" for left in sorted_out.left]
    return lines if sorted_out.members else [*lines, "  nothing to do here"]


def _line(event: Event) -> None:
    if event.kind in ("phase.started", "task.started", "task.attempt", "task.finished", "review", "run.finished"):
        told = " ".join(f"{key}={value}" for key, value in event.data.items() if value not in (None, "", [], {}))
        say(f"{event.kind}: {event.task_id or event.phase or ''} {told}"[:200])
