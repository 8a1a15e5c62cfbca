"""`harness runs`: what has been worked on, newest first."""

from __future__ import annotations

import argparse

import anyio

from harness.cli.common import common_options, put_json, say, settings_from, show
from harness.cli.options import count
from harness.config.settings import Settings
from harness.errors import HarnessError, did_you_mean
from harness.journal import SqliteJournal
from harness.strangers import one_line
from harness.types import Run

EXAMPLES = """examples:
  harness runs
  harness runs --active
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("--active", action="store_true", help="only runs that are not finished")
    parser.add_argument("-n", "--limit", type=count, metavar="N", help="at most this many")


def run(arguments: argparse.Namespace) -> int:
    found = anyio.run(stored_runs, settings_from(arguments), arguments.active, arguments.limit)
    if arguments.json:
        put_json([brief_of(item) for item in found])
        return 0
    if not found:
        say("no runs yet; begin with: harness run ISSUE")
    width = max((len(item.id) for item in found), default=0)
    for item in found:
        when = item.started_at.astimezone().strftime("%Y-%m-%d %H:%M") if item.started_at else "-"
        show(
            f"{item.id:<{width}}  {item.status:<11}  {when}  ${item.usage.cost_usd:>8.4f}  {one_line(item.issue.title)}"
        )
    return 0


async def stored_runs(settings: Settings, active: bool = False, limit: int | None = None) -> list[Run]:
    """Runs in the repository's journal, newest first; none when there is no journal."""
    path = settings.state / "journal.db"
    if not path.exists():
        return []
    journal = SqliteJournal(path)
    try:
        return await journal.runs(active, limit)
    finally:
        await journal.aclose()


async def find_run(settings: Settings, run_id: str) -> Run:
    """The run of that id, or the latest run of the issue of that id; raises HarnessError."""
    found = await stored_runs(settings)
    for item in found:
        if run_id in (item.id, item.issue.id):
            return item
    names = [item.id for item in found]
    raise HarnessError(f"no run '{run_id}'{did_you_mean(run_id, names)}", "harness runs lists them")


def brief_of(item: Run) -> dict[str, object]:
    """One run as a row."""
    return {
        "run": item.id,
        "issue": item.issue.id,
        "title": item.issue.title,
        "status": item.status,
        "tier": item.route.tier,
        "usd": str(item.usage.cost_usd),
        "started_at": item.started_at,
        "finished_at": item.finished_at,
        "error": item.error,
    }
