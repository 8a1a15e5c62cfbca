"""`harness experiments run`: issues chosen, tried on every tier, told as a table with a verdict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from harness import registry
from harness.cli.common import put_json, say, show
from harness.cli.pictures import paint
from harness.config.settings import Settings
from harness.errors import HarnessError
from harness.protocols import Deps, Wanted
from harness.report.trial import Comparison, Result, compare, trial
from harness.types import Issue


async def side_by_side(arguments: argparse.Namespace, settings: Settings) -> int:
    """The whole action; exit code 0 when the criterion is met or open, 1 when it is missed."""
    tiers = [tier.strip() for tier in arguments.tiers.split(",") if tier.strip()]
    if len(tiers) < 2 or len(set(tiers)) != len(tiers):
        raise HarnessError("--tiers: name at least two different tiers", "for example: --tiers haiku,sonnet")
    for tier in tiers:
        settings.pool(tier)
    async with registry.build(settings) as deps:
        issues = await _issues(arguments, deps, tiers[0])
        say(f"{len(issues)} issues on {' and '.join(tiers)}; nothing lands, the tracker is told nothing")
        results, stopped = await trial(issues, tiers, deps, arguments.budget_usd, lambda result: say(_line(result)))
        scripted = deps.models.scripted
    comparison = compare(results, tiers[0], tiers[-1])
    if arguments.json:
        put_json({"results": results, "comparison": comparison, "stopped": stopped, "scripted": scripted})
    else:
        _show(_told(results, tiers, comparison))
        if stopped:
            show("", f"Stopped: {stopped}. The same command with a larger budget goes on where it stopped.")
        if scripted:
            show("", "A scripted model answered: no API was called, and this says nothing of real models.")
    return 1 if comparison.verdict == "missed" else 0


def _show(lines: Iterator[str]) -> None:
    if sys.stdout.isatty():
        paint(lines)
    else:
        show(*lines)


async def _issues(arguments: argparse.Namespace, deps: Deps, cheap: str) -> list[Issue]:
    if arguments.issues:
        return [await deps.tracker.get(name.strip()) for name in arguments.issues.split(",") if name.strip()][
            : arguments.n
        ]
    ready = await deps.tracker.ready(Wanted())
    chosen = [issue for issue in ready if deps.router.route(issue).tier == cheap][: arguments.n]
    if not chosen:
        raise HarnessError(
            f"none of {len(ready)} ready issues is routed to {cheap}",
            "name some: --issues ID,ID (harness route ID tells why)",
        )
    return chosen


def _told(results: Sequence[Result], tiers: Sequence[str], comparison: Comparison) -> Iterator[str]:
    by = {(result.issue_id, result.tier): result for result in results}
    yield f"{'issue':<16}" + "".join(f"  {tier:<26}" for tier in tiers) + "  title"
    for issue_id in dict.fromkeys(result.issue_id for result in results):
        own = [by.get((issue_id, tier)) for tier in tiers]
        title = next(result.title for result in own if result)
        yield f"{issue_id:<16}" + "".join(f"  {_cell(result):<26}" for result in own) + f"  {title[:60]}"
    yield ""
    c = comparison
    for tier, solved, cost in ((c.cheap, c.cheap_solved, c.cheap_cost), (c.strong, c.strong_solved, c.strong_cost)):
        share = f"{solved / c.pairs:.0%}" if c.pairs else "–"
        yield f"{tier:<10} solved {solved} of {c.pairs} ({share}), ${cost:.4f}"
    if c.cheap_cost and c.strong_cost:
        yield f"{c.strong} cost {c.strong_cost / c.cheap_cost:.1f} times as much"
    yield ""
    yield f"{c.cheap} at 85 % or more: {c.verdict.upper()} — {c.reason}"


def _cell(result: Result | None) -> str:
    if result is None:
        return "–"
    mark = "✓" if result.success else "✗" if result.counts else "stopped"
    return f"{mark} ${result.cost_usd:.4f} {result.seconds:.0f}s, {result.attempts} tries"


def _line(result: Result) -> str:
    return f"  {result.issue_id} on {result.tier}: {_cell(result)}{' — ' + result.note if result.note else ''}"
