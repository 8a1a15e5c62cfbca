"""`harness work`: work off the queue, once (CI, cron) or as a daemon.

`--json` prints `taken`, `done`, `failed`, `rejected`, `released` (counts of issues), `stopped` (why it ended early, or
null), `exit_code`, `usd` and `runs` (`run`, `issue`, `status`, `error`, `usd`, `landing`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from harness import registry
from harness.allowance import Allowance, Limits
from harness.claims import queue_lock
from harness.cli.common import common_options, put_json, say, show
from harness.cli.lines import lines, log_option
from harness.cli.options import count, port
from harness.cli.running import overrides, run_options, settings_of, wished, wishes_of
from harness.config.settings import Settings, load_settings
from harness.protocols import Emit, Wanted
from harness.queue import Queue, QueueReport
from harness.report.experiments import record
from harness.stop import Stop
from harness.types import Budget, Issue, RouteDecision
from harness.watch import COUNTS, Watch

EXAMPLES = """\
examples:
  harness work --once --max-issues 20 --parallel 3 --budget-usd 5 --json
  harness work --watch --label ready-for-harness --metrics-port 9464
  harness work --dry-run

Ctrl-C finishes the current steps and gives the issues back; a second one stops now. Both can be gone on with.
"""
Place = tuple[Settings, Wanted]
"""A repository, and which of its issues."""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="until nothing is ready, then exit (the default)")
    how.add_argument(
        "--watch", action="store_true", help="go on: look every queue.poll_seconds, or when a hook wakes it"
    )
    how.add_argument("--dry-run", action="store_true", help="list what would be taken, with tier and estimated cost")
    parser.add_argument("--max-issues", type=count, metavar="N", help="take at most N issues")
    parser.add_argument("--parallel", type=count, metavar="N", help="issues at once (default: queue.parallel_issues)")
    parser.add_argument("--label", action="append", default=[], metavar="L", help="only issues with it (repeatable)")
    parser.add_argument("--type", action="append", default=[], metavar="T", help="only these types (repeatable: any)")
    parser.add_argument("--parent", metavar="EPIC", help="only issues below this epic")
    parser.add_argument("--metrics-port", type=port, metavar="PORT", help="serve Prometheus metrics on 127.0.0.1")
    log_option(parser)
    run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    with lines(arguments.log_json) as tell:
        return _run(arguments, tell)


def _run(arguments: argparse.Namespace, tell: Emit) -> int:
    settings = settings_of(arguments)
    places = [(settings, _wanted(arguments)), *_others(settings, arguments)]
    if arguments.dry_run:
        return anyio.run(_dry_run, places, arguments)
    report = anyio.run(_work, places, arguments, tell)
    if arguments.json:
        put_json(report)
    else:
        show(", ".join(f"{getattr(report, name)} {name}" for name in COUNTS) + f"; ${report.usd:.4f}")
    if report.stopped:
        say(f"stopped: {report.stopped}")
    return report.exit_code


def _wanted(arguments: argparse.Namespace, labels: tuple[str, ...] = ()) -> Wanted:
    return Wanted(labels=(*arguments.label, *labels), types=tuple(arguments.type), parent=arguments.parent)


def _others(settings: Settings, arguments: argparse.Namespace) -> list[Place]:
    """The further repositories of the settings, each with its own settings file and the same command line."""
    found = []
    for place in settings.repositories:
        root = (settings.root / place.path.expanduser()).resolve()
        file = settings.root / place.settings if place.settings else None
        own = wished(load_settings(root, file, overrides(arguments)), arguments)
        found.append((own, _wanted(arguments, place.wanted_labels)))
    return found


async def _dry_run(places: list[Place], arguments: argparse.Namespace) -> int:
    rows: list[tuple[Path, Issue, RouteDecision]] = []
    for settings, wanted in places:
        async with registry.build(settings) as deps:
            queue = Queue(deps, partial(registry.pipeline, settings=settings), wanted=wanted)
            found = await queue.candidates(arguments.max_issues)
            rows.extend((settings.root, issue, deps.router.route(issue)) for issue in found)
    rows = rows[: arguments.max_issues]
    if arguments.json:
        shape = [
            {"repo": root, "issue": issue.id, "title": issue.title, "priority": issue.priority, "tier": route.tier,
             "pipeline": route.pipeline, "estimated_cost": route.estimated_cost}
            for root, issue, route in rows
        ]  # fmt: skip
        put_json({"would_take": shape})
        return 0
    for root, issue, route in rows:
        cost = "unknown" if route.estimated_cost is None else f"about ${route.estimated_cost:.4f}"
        where = f"  {root}" if len(places) > 1 else ""
        show(f"P{issue.priority}  {issue.id}  {route.tier}  {route.pipeline}  {cost}  {issue.title}{where}")
    if not rows:
        say("nothing is ready")
    return 0


async def _work(places: list[Place], arguments: argparse.Namespace, tell: Emit) -> QueueReport:
    """All repositories, each under its lock, until their watch ends."""
    stops = [Stop(settings.state) for settings, _ in places]
    budget = Budget(usd=arguments.budget_usd)
    allowance = Allowance(Limits(parallel=arguments.parallel, max_issues=arguments.max_issues, budget=budget))
    watch = Watch(allowance, stops[0], say)

    def told(text: str) -> None:
        say(text)
        for stop in stops:
            stop.requested = True

    async with anyio.create_task_group() as group:
        group.start_soon(stops[0].watch, group.cancel_scope, told)
        async with AsyncExitStack() as stack:
            listeners = _listeners(arguments, tell)
            for (settings, wanted), stop in zip(places, stops, strict=True):
                stack.enter_context(queue_lock(settings.state))
                deps = await stack.enter_async_context(registry.build(settings, listeners, stop.gate))
                wishes = wishes_of(arguments).model_copy(update={"budget": Budget()})
                queue = Queue(
                    deps, partial(registry.pipeline, settings=settings), wishes, wanted, allowance,
                    stop=stop, finished=partial(record, settings=settings),
                )  # fmt: skip
                for issue_id in await queue.recover():
                    say(f"{issue_id}: its worker is gone; it goes on first")
                watch.queues.append(queue)
            await (watch.on() if arguments.watch else watch.once())
        group.cancel_scope.cancel()
    return watch.report


def _listeners(arguments: argparse.Namespace, tell: Emit) -> list[Emit]:
    if not arguments.metrics_port:
        return [tell]
    start: Callable[[int], Emit] = registry.find("metrics", "harness.cli.work_metrics:serve", {})
    return [tell, start(arguments.metrics_port)]
