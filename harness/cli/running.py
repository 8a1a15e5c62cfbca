"""What `run`, `resume` and others share: options, one run from settings to summary, and the summary itself."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from harness import registry
from harness.cli.common import say, settings_from
from harness.cli.database import database_from, database_option
from harness.cli.options import count, dollars
from harness.cli.progress import progress
from harness.config.settings import Settings
from harness.engine import Wishes
from harness.errors import Interrupted
from harness.protocols import Deps
from harness.report.experiments import record
from harness.report.savings import run_savings
from harness.stop import Stop
from harness.taking import take_issue
from harness.types import UNFINISHED, Budget, Run


class StoppedNow(Interrupted):
    """The second signal: a step was left in its middle."""


def run_options(parser: argparse.ArgumentParser) -> None:
    """How work is done; each wins over harness.yaml."""
    parser.add_argument("--pipeline", metavar="NAME|FILE", help="instead of the routed one")
    for role in ("planner", "worker", "reviewer"):
        parser.add_argument(f"--{role}", metavar="TIER", help=f"the {role}'s tier")
    parser.add_argument("--executor", metavar="NAME", help="tool_loop, claude_code, or a command preset such as codex")
    parser.add_argument("--max-parallel", type=count, metavar="N", help="tasks at the same time")
    parser.add_argument("--budget-usd", type=dollars, metavar="USD", help="stop in good order at this cost")
    parser.add_argument("--land", choices=("branch", "merge", "pr"), help="how accepted work is handed over")
    parser.add_argument("--backend", metavar="NAME", help="where tasks run: local, or dbos for many machines")
    database_option(parser)
    parser.add_argument("--script", type=Path, metavar="FILE", help="a scripted model's replies; no API is called")
    parser.add_argument("--no-content", action="store_true", help="keep titles, prompts and replies out of the records")
    parser.add_argument("--no-sandbox", action="store_true", help="run the model's commands unconfined: your own risk")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Settings with the command line's wishes on top."""
    return wished(settings_from(arguments, **overrides(arguments)), arguments)


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that the command line names by itself; None where it does not."""
    named = {name: getattr(arguments, name) for name in ("executor", "max_parallel", "land", "backend")}
    return {**named, "database": database_from(arguments)}


def wished(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings of a repository with the rest of the wishes; raises for a tier or a pipeline that it has not."""
    changes: dict[str, Any] = {}
    if arguments.script is not None:
        changes["models"] = settings.models.model_copy(update={"script": arguments.script.resolve()})
    if arguments.no_content:
        changes["content"] = False
    if arguments.no_sandbox:
        changes["sandbox"] = settings.sandbox.model_copy(update={"mode": "none"})
    for tier in (arguments.planner, arguments.worker, arguments.reviewer):
        if tier is not None:
            settings.pool(tier)
    if arguments.pipeline is not None:
        registry.pipeline(arguments.pipeline, settings)
    return settings.model_copy(update=changes)


def wishes_of(arguments: argparse.Namespace) -> Wishes:
    return Wishes(
        pipeline=arguments.pipeline,
        planner=arguments.planner,
        worker=arguments.worker,
        reviewer=arguments.reviewer,
        executor=arguments.executor,
        budget=Budget(usd=arguments.budget_usd),
        land=arguments.land,
    )


def run_issue_now(arguments: argparse.Namespace, settings: Settings, issue_id: str) -> Run:
    """Take one issue and record what became of it; raises StoppedNow at the second signal."""
    return anyio.run(_watched, settings, partial(_take, issue_id, arguments, settings))


def exit_code(run: Run) -> int:
    """What a command says of a run to whoever called it."""
    return 0 if run.accepted else 130 if run.status == "interrupted" else 1


async def _take(issue_id: str, arguments: argparse.Namespace, settings: Settings, deps: Deps, stop: Stop) -> Run:
    wishes = wishes_of(arguments)
    for run in await deps.journal.runs(issue=issue_id):
        stop.clear(run.id)
        if run.status in UNFINISHED and wishes != Wishes(budget=wishes.budget, land=wishes.land):
            say(f"{run.id} goes on as it was begun; other tiers, executors or pipelines need a new run")
            say(f"  → harness forget {run.id}, then the same command begins anew")
    return await take_issue(issue_id, deps, partial(registry.pipeline, settings=settings), wishes)


async def _watched(settings: Settings, work: Callable[[Deps, Stop], Awaitable[Run]]) -> Run:
    stop = Stop(settings.state)
    finished: Run | None = None
    with progress(quiet=False) as listen:
        async with registry.build(settings, [listen], stop.gate) as deps, anyio.create_task_group() as group:
            group.start_soon(stop.watch, group.cancel_scope, say)
            finished = await work(deps, stop)
            group.cancel_scope.cancel()
    if finished is None:  # the second signal
        raise StoppedNow("stopped at once, in the middle of a step", "the same command, or harness resume, goes on")
    await record(finished, settings)
    return finished


def summary(run: Run, settings: Settings) -> dict[str, Any]:
    """The stable JSON shape of a finished run: what `run --json`, `resume --json` and `show --json` print."""
    savings = run_savings(run, settings)
    return {
        "run": run.id,
        "issue": run.issue.id,
        "title": run.issue.title,
        "status": run.status,
        "error": run.error,
        "hint": run.hint,
        "route": run.route.model_dump(mode="json", exclude={"trace"}),
        "pipeline": run.pipeline.name,
        "base": run.base,
        "tasks": [
            {
                "id": result.task_id,
                "status": result.status,
                "tier": result.attempts[-1].tier if result.attempts else None,
                "attempts": len(result.attempts),
                "commit": result.commit,
                "usd": str(result.usage.cost_usd),
                "error": result.error,
            }
            for result in run.results
        ],
        "reviews": [review.model_dump(mode="json", exclude={"calls"}) for review in run.reviews],
        "landing": run.landing,
        "filed": list(run.filed),
        "usage": run.usage,
        "savings": savings.sentences(),
        "scripted": run.scripted,
    }


def summary_lines(run: Run, settings: Settings) -> list[str]:
    """A finished run for people."""
    lines = ["", f"{run.id}  {run.issue.title}", f"  {run.status}" + (f": {run.error}" if run.error else "")]
    if run.hint:
        lines.append(f"  → {run.hint}")
    lines += [f"  warning: {warning}" for warning in run.route.warnings]
    width = max((len(result.task_id) for result in run.results), default=0)
    for result in run.results:
        tiers = " → ".join(dict.fromkeys(attempt.tier for attempt in result.attempts)) or "-"
        tries = f"{len(result.attempts)} attempt{'s' if len(result.attempts) != 1 else ''}"
        redo = f", redone {result.round}×" if result.round else ""
        lines.append(
            f"  {result.task_id:<{width}}  {result.status:<7}  {tiers}  ({tries}{redo}, ${result.usage.cost_usd:.4f})"
        )
    for review in run.reviews:
        lines.append(f"  review {review.round + 1}: {review.verdict}: {review.summary}")
        lines += [f"    [{finding.severity}] {finding.path or '-'}: {finding.title}" for finding in review.findings]
    lines += [f"  {name}: ${usd:.4f}" for name, usd in _by_phase_and_tier(run).items()]
    lines += [f"  {sentence}" for sentence in run_savings(run, settings).sentences()]
    if run.landing:
        lines.append(f"  {run.landing.mode}: {run.landing.commit[:12]} on {run.landing.into or run.landing.branch}")
        lines += [f"  → {run.landing.note}"] if run.landing.note else []
    if run.scripted:
        lines.append("  scripted model: no API was called")
    lines.append(f"  the whole story: harness report {run.id}")
    return lines


def _by_phase_and_tier(run: Run) -> dict[str, Decimal]:
    costs: dict[str, Decimal] = {}
    for call in run.calls:
        name = f"{call.phase} by {call.tier}"
        costs[name] = costs.get(name, Decimal(0)) + call.usage.cost_usd
    return costs
