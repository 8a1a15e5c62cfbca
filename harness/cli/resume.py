"""`harness resume`: go on with interrupted runs."""

from __future__ import annotations

import argparse
from typing import Any

import anyio

from harness.cli.common import common_options, put_json, say, show
from harness.cli.running import StoppedNow, exit_code, run_issue_now, run_options, settings_of, summary, summary_lines
from harness.cli.runs import find_run, stored_runs
from harness.config.settings import Settings
from harness.errors import HarnessError
from harness.stop import Stop
from harness.types import UNFINISHED, Run

EXAMPLES = """examples:
  harness resume bd-a3f8-r1
  harness resume bd-a3f8-r1 --budget-usd 2     one that ran out of budget
  harness resume --all --json                  one document: {"runs": [...]}
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
        return _all([run for run in anyio.run(stored_runs, settings) if run.status in UNFINISHED], arguments, settings)
    chosen: Run = anyio.run(find_run, settings, arguments.run)
    if chosen.status not in UNFINISHED:
        raise HarnessError(f"{chosen.id} is {chosen.status}; there is nothing to go on with",
                           f"begin anew: harness run {chosen.issue.id}")  # fmt: skip
    finished = _go_on(chosen, arguments, settings)
    if arguments.json:
        put_json(summary(finished, settings))
    else:
        show(*summary_lines(finished, settings))
    return exit_code(finished)


def _all(chosen: list[Run], arguments: argparse.Namespace, settings: Settings) -> int:
    """Every run, the others too when one cannot go on; an interruption ends it."""
    said: list[dict[str, Any]] = []
    codes = [0]
    for run in chosen:
        try:
            finished = _go_on(run, arguments, settings)
        except StoppedNow:
            raise
        except HarnessError as error:
            say(f"{run.id}: {error}")
            said.append({"run": run.id, "status": run.status, "error": error.message, "hint": error.hint})
            codes.append(error.exit_code)
            continue
        said.append(summary(finished, settings))
        codes.append(exit_code(finished))
        if not arguments.json:
            show(*summary_lines(finished, settings))
        if finished.status == "interrupted":
            break
    if arguments.json:
        put_json({"runs": said})
    elif not chosen:
        say("nothing to resume")
    return max(codes)


def _go_on(run: Run, arguments: argparse.Namespace, settings: Settings) -> Run:
    Stop(settings.state).clear(run.id)
    return run_issue_now(arguments, settings, run.issue.id)
