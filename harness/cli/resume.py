"""`harness resume`: go on with interrupted runs."""

from __future__ import annotations

import argparse

import anyio

from harness.cli.common import common_options, say
from harness.cli.running import run_issue_now, run_options, settings_of
from harness.cli.runs import find_run, stored_runs
from harness.errors import HarnessError
from harness.stop import Stop
from harness.types import UNFINISHED

EXAMPLES = """examples:
  harness resume bd-a3f8-r1
  harness resume bd-a3f8-r1 --budget-usd 2     one that ran out of budget
  harness resume --all
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", nargs="?", metavar="RUN", help="the run's id (harness runs)")
    parser.add_argument("--all", action="store_true", help="every interrupted run, one after another")
    run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_of(arguments)
    if bool(arguments.run) == arguments.all:
        raise HarnessError("name a run, or say --all", "harness runs --active lists them")
    if arguments.all:
        chosen = [run for run in anyio.run(stored_runs, settings) if run.status in UNFINISHED]
    else:
        chosen = [anyio.run(find_run, settings, arguments.run)]
        if chosen[0].status not in UNFINISHED:
            raise HarnessError(f"{chosen[0].id} is {chosen[0].status}; there is nothing to go on with",
                               f"begin anew: harness run {chosen[0].issue.id}")  # fmt: skip
    if not chosen:
        say("nothing to resume")
        return 0
    stop, codes = Stop(settings.state), []
    for item in chosen:
        stop.clear(item.id)
        codes.append(run_issue_now(arguments, settings, item.issue.id))
    return max(codes)
