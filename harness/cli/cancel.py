"""`harness cancel`: stop a run after its current step."""

from __future__ import annotations

import argparse

import anyio

from harness.cli.common import common_options, put_json, settings_from, show
from harness.cli.runs import find_run
from harness.errors import HarnessError
from harness.stop import Stop
from harness.types import UNFINISHED

EXAMPLES = """examples:
  harness cancel bd-a3f8-r1        what is finished is kept; harness resume goes on
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", metavar="RUN", help="the run's id (harness runs --active)")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    found = anyio.run(find_run, settings, arguments.run)
    if found.status not in UNFINISHED:
        raise HarnessError(
            f"{found.id} is {found.status} already", "harness runs --active lists those that can be stopped"
        )
    Stop(settings.state).cancel(found.id)
    if arguments.json:
        put_json({"run": found.id, "cancelled": True})
    else:
        show(f"{found.id} stops after its current step; go on later with: harness resume {found.id}")
    return 0
