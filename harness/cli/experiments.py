"""`harness experiments`: the records of past attempts, people's ratings, and side-by-side experiments."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import anyio

from harness.cli.common import common_options, put_json, repository_root, say, settings_from, show
from harness.cli.evaluation import told
from harness.cli.options import count, dollars, since
from harness.errors import HarnessError
from harness.outcomes import Outcomes
from harness.records import Outcome, as_dict, usd
from harness.report.evaluate import PRICE, evaluate
from harness.report.tables import read_rows

EXAMPLES = """examples:
  harness experiments list --since 7d
  harness experiments rate 3f2a9c01 4 --notes "works, but no test for the empty case"
  harness experiments export -o outcomes.csv
  harness experiments run --tiers haiku,sonnet -n 10 --budget-usd 2
  harness experiments evaluate table.csv
      columns: text, weak_correct, strong_correct and, if known, weak_cost, strong_cost, pattern, parent
"""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|rate|export|run|evaluate")
    listed = actions.add_parser("list", help="attempts, newest first")
    listed.add_argument("-n", type=count, default=30, metavar="N", help="how many (default: 30)")
    listed.add_argument("--since", type=since, default=0, metavar="PERIOD", help="30d, 12h, 4w or a date")
    rated = actions.add_parser("rate", help="say how good the work was, 1 to 5; it counts above the reviewer's verdict")
    rated.add_argument("id", metavar="ID", help="of an attempt (or its beginning), a run or an issue")
    rated.add_argument("rating", type=int, choices=range(1, 6), metavar="1-5")
    rated.add_argument("--notes", help="why")
    exported = actions.add_parser("export", help="all records as JSON Lines or CSV")
    exported.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=".jsonl or .csv (default: JSON Lines on stdout)"
    )
    exported.add_argument("--since", type=since, default=0, metavar="PERIOD", help="30d, 12h, 4w or a date")
    tried = actions.add_parser("run", help="the same issues on several tiers, side by side; nothing lands")
    tried.add_argument("--issues", metavar="ID,ID", help="default: ready issues that routing gives to the first tier")
    tried.add_argument("--tiers", default="haiku,sonnet", metavar="A,B", help="cheap first (default: haiku,sonnet)")
    tried.add_argument("-n", type=count, default=10, metavar="N", help="issues (default: 10)")
    tried.add_argument(
        "--budget-usd", type=_budget, metavar="X", help="stop, keeping what is finished, at so many dollars"
    )
    judged = actions.add_parser("evaluate", help="evaluate routing on a table of weak and strong outcomes")
    judged.add_argument("file", type=Path, metavar="FILE", help=".csv or .jsonl, or an export of this command")
    judged.add_argument("--price", type=float, default=PRICE, metavar="P",
                        help=f"what asking the strong model costs, in solved queries (default: {PRICE})")  # fmt: skip
    for action in (listed, rated, exported, tried, judged):
        common_options(action)
        action.epilog, action.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter


def run(arguments: argparse.Namespace) -> int:
    actions = {"list": _list, "rate": _rate, "export": _export, "run": _run, "evaluate": _evaluate}
    return actions[arguments.action](arguments)


def _store(arguments: argparse.Namespace) -> Outcomes:
    return Outcomes(repository_root(arguments.repo) / ".harness", create=False)


def _list(arguments: argparse.Namespace) -> int:
    with _store(arguments) as store:
        found = list(store.latest(arguments.n, arguments.since))
    if arguments.json:
        put_json([as_dict(outcome) for outcome in found])
    elif not found:
        show("No records yet: they are made when a run ends.")
    else:
        show(f"{'id':<10}  {'when':<16}  {'tier':<8}{'result':<10}{'cost':>9} {'time':>6}  {'quality':<8} what")
        show(*map(_line, found))
    return 0


def _line(outcome: Outcome) -> str:
    result = "success" if outcome.success else "verified" if outcome.verified else outcome.outcome
    quality = f"{outcome.rating} (you)" if outcome.rating else f"{outcome.quality:g}" if outcome.quality else "–"
    when = datetime.fromtimestamp(outcome.at, UTC).strftime("%Y-%m-%d %H:%M")
    what = f"{outcome.issue_id}/{outcome.task_id} {outcome.description}"
    note = f" — {outcome.notes}" if outcome.notes else ""
    return (
        f"{outcome.id:<10}  {when}  {outcome.tier:<8}{result:<10}{f'${usd(outcome.cost_nusd):.4f}':>9} "
        f"{outcome.seconds:5.0f}s  {quality:<8} {what}{note}"
    )


def _rate(arguments: argparse.Namespace) -> int:
    with _store(arguments) as store:
        now = store.rate(arguments.id, arguments.rating, arguments.notes)
    if not now:
        raise HarnessError(f"no record, run or issue '{arguments.id}'", "harness experiments list shows the ids")
    if arguments.json:
        put_json([as_dict(outcome) for outcome in now])
    else:
        show(
            *(
                f"{outcome.id}  {outcome.issue_id}/{outcome.task_id} at {outcome.tier}: rated {outcome.rating}"
                for outcome in now
            )
        )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    if arguments.output is not None and arguments.output.suffix not in (".jsonl", ".csv"):
        raise HarnessError(f"{arguments.output}: which form is that?", "name a file that ends in .jsonl or .csv")
    with _store(arguments) as store:
        records = (as_dict(outcome) for outcome in store.latest(since=arguments.since))
        if arguments.output is None and arguments.json:
            put_json({"records": list(records)})
            return 0
        if arguments.output is None:
            written = _write(records, sys.stdout, "jsonl")
        else:
            try:
                with arguments.output.open("w", encoding="utf-8", newline="") as file:
                    written = _write(records, file, "csv" if arguments.output.suffix == ".csv" else "jsonl")
            except OSError as error:
                raise HarnessError(
                    f"{arguments.output}: cannot be written: {error.strerror}", "name another file"
                ) from None
    if arguments.json and arguments.output is not None:
        put_json({"path": str(arguments.output), "records": written})
    else:
        say(f"{written:,} records")
    return 0


def _write(records: Iterator[dict[str, Any]], file: IO[str], form: str) -> int:
    count = 0
    writer: Any = None
    for count, record in enumerate(records, 1):  # noqa: B007 - counted for the caller
        if form == "jsonl":
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(file, list(record))
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in record.items()})
    return count


def _cell(value: object) -> object:
    """A spreadsheet takes text that begins with = + - @ for a formula; an apostrophe keeps it text."""
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _evaluate(arguments: argparse.Namespace) -> int:
    found = evaluate(read_rows(arguments.file), arguments.price)
    if arguments.json:
        put_json({**vars(found), "curve": [vars(point) for point in found.curve]})
    else:
        show(*told(found))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    # The engine and all it needs: only this action pays for the import.
    return int(
        anyio.run(importlib.import_module("harness.cli.trial").side_by_side, arguments, settings_from(arguments))
    )


def _budget(text: str) -> Decimal:
    if amount := dollars(text):
        return amount
    raise argparse.ArgumentTypeError("the budget must be above zero")
