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
from harness.workspace.repository import GitWorkspace

EXAMPLES = """examples:
  harness forget bd-a3f8-r1               journal, events, outcomes, documents; commits and branches stay
  harness forget bd-a3f8-r1 --branches    the run's own branches, too; what has landed stays

With a database for many machines, what stands there and in the remote's refs/harness/ of the run goes, too.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", metavar="RUN", help="the run's id")
    parser.add_argument("--branches", action="store_true", help="delete the run's branches harness/RUN/…, too")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    found = anyio.run(find_run, settings, arguments.run)
    with run_lock(settings.state, f"issue-{found.issue.id}"):
        if settings.backend == "dbos" or settings.database is not None:
            anyio.run(registry.find("backend", "harness.backends.dbos:forget_run", {}), settings, found.id)
        anyio.run(_forget, settings, found.id)
        outcomes = forget(found.id, settings.state)
    shutil.rmtree(settings.state / "runs" / found.id, ignore_errors=True)
    branches = anyio.run(_drop, settings, found.id) if arguments.branches else []
    if arguments.json:
        put_json({"run": found.id, "outcomes": outcomes, "branches": branches})
    elif arguments.branches:
        show(f"{found.id} is forgotten, its {len(branches)} branches with it; git gc --prune=now deletes their commits")
    else:
        show(f"{found.id} is forgotten; its branches harness/{found.id}/… stay (--branches deletes them)")
    return 0


async def _drop(settings: Settings, run_id: str) -> list[str]:
    return await (await GitWorkspace.open(settings.root)).drop(f"harness/{run_id}")


async def _forget(settings: Settings, run_id: str) -> None:
    journal = SqliteJournal(settings.state / "journal.db")
    try:
        await journal.forget(run_id)
    finally:
        await journal.aclose()
