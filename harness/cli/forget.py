"""`harness forget`: delete all that is stored about a run."""

from __future__ import annotations

import argparse
import shutil

import anyio

from harness import registry
from harness.cli.common import common_options, put_json, settings_from, show
from harness.cli.runs import find_run
from harness.config.settings import Settings
from harness.journal import SqliteJournal
from harness.report.experiments import forget
from harness.stop import run_lock

EXAMPLES = """examples:
  harness forget bd-a3f8-r1        journal, events, outcomes, documents; commits and branches stay

With a database for many machines, what stands there and in the remote's refs/harness/ of the run goes, too.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", metavar="RUN", help="the run's id")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    found = anyio.run(find_run, settings, arguments.run)
    with run_lock(settings.state, f"issue-{found.issue.id}"):
        if settings.backend == "dbos" or settings.database is not None:
            anyio.run(registry.find("backend", "harness.backends.dbos:forget_run", {}), settings, found.id)
        anyio.run(_forget, settings, found.id)
        outcomes = forget(found.id, settings.state)
    shutil.rmtree(settings.state / "runs" / found.id, ignore_errors=True)
    if arguments.json:
        put_json({"run": found.id, "outcomes": outcomes})
    else:
        show(f"{found.id} is forgotten; branches harness/{found.id}/… are yours to delete")
    return 0


async def _forget(settings: Settings, run_id: str) -> None:
    journal = SqliteJournal(settings.state / "journal.db")
    try:
        await journal.forget(run_id)
    finally:
        await journal.aclose()
