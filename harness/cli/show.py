"""`harness show`: one run, told."""

from __future__ import annotations

import argparse

import anyio

from harness.cli.common import common_options, put_json, settings_from, show
from harness.cli.running import summary, summary_lines
from harness.cli.runs import find_run

EXAMPLES = """examples:
  harness show bd-a3f8-r1
  harness show bd-a3f8          the issue's latest run
  harness show bd-a3f8-r1 --task t2     one task's attempts and the checks that failed
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", metavar="RUN", help="a run's id, or an issue's for its latest run")
    parser.add_argument("--task", metavar="ID", help="the attempts at one task, with their feedback")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    found = anyio.run(find_run, settings, arguments.run)
    if arguments.json:
        put_json(summary(found, settings))
        return 0
    show(*summary_lines(found, settings))
    for result in (*found.superseded, *found.results):
        if arguments.task == result.task_id:
            for attempt in result.attempts:
                who = f"attempt {attempt.number} by {attempt.tier} ({attempt.model})"
                show("", f"round {result.round}, {who}: {attempt.outcome}")
                show(attempt.summary, attempt.feedback)
    return 0
