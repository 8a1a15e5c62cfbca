"""`harness route`: which tier, model, pipeline and rule an issue gets, why, and what it will cost.

`--json` prints the decision: `issue`, `tier`, `model`, `candidates`, `pipeline`, `strategy`, `rule`, `reason`,
`confidence`, `estimated_cost`, `baseline_cost` (USD as text, or null where a price is unknown), `baseline_tier`,
`warnings` and `trace` (`rule`, `matched`, `why`). `--stdin` prints one such object a line.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from harness.cli.common import common_options, jsonable, put_json, say, settings_from, show
from harness.config.reading import validate
from harness.config.settings import Settings
from harness.errors import ConfigError, HarnessError
from harness.routing.router import Router, build_router
from harness.strangers import one_line
from harness.types import Issue, RouteDecision, TraceLine

EXAMPLES = """\
examples:
  harness route bd-a3f8 --explain
  harness route --title "Fix typo in README" --label complexity:trivial --json
  harness route --title "Rename the setting" --file src/app.py --file src/settings.py
  harness route --stdin < issues.jsonl
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("issue", nargs="?", metavar="ISSUE", help="an issue of the tracker")
    parser.add_argument("--title", help="route this title instead of an issue of the tracker")
    parser.add_argument("--body", default="", metavar="TEXT", help="with --title: the description")
    parser.add_argument("--label", action="append", default=[], metavar="L", help="with --title: a label (repeatable)")
    parser.add_argument("--file", action="append", default=[], metavar="F", help="with --title: a file (repeatable)")
    parser.add_argument(
        "--priority", type=_priority, default=2, metavar="N", help="with --title: 0 to 4, 0 is the most urgent"
    )
    parser.add_argument("--type", default="task", metavar="T", help="with --title: task, bug, feature, epic, …")
    parser.add_argument(
        "--stdin", action="store_true", help="route issues given as JSON, one a line, in Beads' form too"
    )
    parser.add_argument("--explain", action="store_true", help="show each rule that was asked, and what it said")


def run(arguments: argparse.Namespace) -> int:
    given = [arguments.issue is not None, arguments.title is not None, arguments.stdin]
    if sum(given) != 1:
        raise HarnessError("say what to route: an issue's id, --title TEXT, or --stdin", "harness route --help")
    settings = settings_from(arguments)
    router = build_router(settings)
    if arguments.stdin:
        return _batch(sys.stdin, router, settings)
    issue = _from_title(arguments) if arguments.title is not None else _from_tracker(arguments.issue, settings)
    decision = router.route(issue)
    if arguments.json:
        put_json(_document(issue, decision, settings))
    else:
        show(*_lines(issue, decision, settings, arguments.explain))
        say(*(f"warning: {warning}" for warning in decision.warnings))
    return 0


def _priority(text: str) -> int:
    """`2` or `P2`, as Beads takes it."""
    digits = text.strip().upper().removeprefix("P")
    if not re.fullmatch("[0-4]", digits):
        raise argparse.ArgumentTypeError(f"'{text}' is no priority: write 0 (the most urgent) to 4")
    return int(digits)


def _from_title(arguments: argparse.Namespace) -> Issue:
    return Issue(
        id="",
        title=arguments.title,
        body=arguments.body,
        labels=tuple(arguments.label),
        files=tuple(arguments.file),
        priority=arguments.priority,
        type=arguments.type.strip().lower(),
        source="command line",
    )


def _from_tracker(issue_id: str, settings: Settings) -> Issue:
    # Only here a tracker and an event loop are needed; routing a title starts faster without them.
    anyio, registry = importlib.import_module("anyio"), importlib.import_module("harness.registry")
    found: Issue = anyio.run(registry.tracker(settings).get, issue_id)
    return found


def _batch(lines: Iterable[str], router: Router, settings: Settings) -> int:
    for issue in read_issues(lines):
        print(json.dumps(jsonable(_document(issue, router.route(issue), settings)), ensure_ascii=False))
    return 0


def read_issues(lines: Iterable[str]) -> Iterator[Issue]:
    """Issues in our own form or in Beads' (`description`, `issue_type`); what else Beads says is passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"standard input, line {number}"
        try:
            data = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(where, (), f"is not JSON: {error}") from None
        if not isinstance(data, dict) or "title" not in data:
            raise ConfigError(where, (), "is no issue; an issue is an object with at least a title")
        renamed = {"description": "body", "issue_type": "type"}
        known = {renamed.get(key, key): value for key, value in data.items() if value is not None}
        fields = {key: value for key, value in known.items() if key in Issue.model_fields}
        if isinstance(fields.get("type"), str):
            fields["type"] = fields["type"].lower()
        yield validate(Issue, {"id": "", **fields}, where)


def _document(issue: Issue, decision: RouteDecision, settings: Settings) -> dict[str, Any]:
    return {
        "issue": {"id": issue.id or None, "title": issue.title},
        **decision.model_dump(mode="json", exclude={"propensity"}),
        "baseline_tier": settings.routing.baseline_tier,
    }


def _lines(issue: Issue, decision: RouteDecision, settings: Settings, explain: bool) -> Iterator[str]:
    yield f"{issue.id}  {one_line(issue.title)}".strip()
    rest = f", then {', '.join(decision.candidates[1:])}" if len(decision.candidates) > 1 else ""
    yield f"  tier      {decision.tier}  ({decision.model}{rest})"
    yield f"  pipeline  {decision.pipeline}"
    yield f"  rule      {decision.rule}  ({decision.strategy})"
    yield f"  why       {decision.reason}"
    yield f"  cost      {_cost(decision, settings)}"
    if explain:
        yield ""
        yield from _table(decision.trace)


def _cost(decision: RouteDecision, settings: Settings) -> str:
    baseline = settings.routing.baseline_tier.capitalize()
    against = f" (vs {dollars(decision.baseline_cost)} with {baseline})" if decision.baseline_cost is not None else ""
    if decision.estimated_cost is None:
        return f"unknown{against}"
    return f"about {dollars(decision.estimated_cost)}{against}"


def dollars(amount: Decimal) -> str:
    """Dollars as people read them: two digits that matter, cents from a dollar up."""
    if amount >= 1 or amount == 0:
        return f"${amount:.2f}"
    digits = max(2, 1 - amount.adjusted())
    return f"${amount:.{digits}f}"


def _table(trace: Iterable[TraceLine]) -> Iterator[str]:
    rows = tuple(trace)
    width = max((len(row.rule) for row in rows), default=4)
    yield f"  {'':3} {'rule':<{width}}  what it said"
    for row in rows:
        yield f"  {'yes' if row.matched else '-':3} {row.rule:<{width}}  {row.why}"
