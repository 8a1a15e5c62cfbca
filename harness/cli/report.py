"""`harness report`: a run or a period as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio

from harness.cli.common import common_options, put_json, say, settings_from, show
from harness.cli.options import since
from harness.config.settings import Settings
from harness.errors import GitError, HarnessError, did_you_mean
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.report.html import run_report
from harness.report.period import period_report
from harness.report.savings import run_savings
from harness.types import Run
from harness.workspace import GitWorkspace

EXAMPLES = """examples:
  harness report                       the latest run, to .harness/reports/
  harness report bh-12-r1 -o run.html
  harness report --since 7d -o week.html
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id (default: the latest run)")
    parser.add_argument("--since", type=since, metavar="PERIOD", help="report a period instead: 7d, 4w or a date")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to (default: .harness/reports/)")


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if arguments.since is not None and arguments.run:
        raise HarnessError("RUN and --since exclude each other", "write one of them")
    if arguments.since is not None:
        with Outcomes(settings.state, create=False) as store:
            text, name = period_report(store, arguments.since), "period"
    else:
        text, name = anyio.run(_of_run, settings, arguments.run)
    path = arguments.output or settings.state / "reports" / f"{name}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HarnessError(f"{path}: cannot be written: {error.strerror}", "name another file: -o FILE") from None
    if arguments.json:
        put_json({"path": str(path), "bytes": len(text.encode())})
    else:
        show(path)
        say("open it in any browser: one file, no network")
    return 0


async def _of_run(settings: Settings, run_id: str | None) -> tuple[str, str]:
    if not (settings.state / "journal.db").exists():
        raise HarnessError("there are no runs in this repository yet", "harness run ISSUE, or harness demo")
    journal = SqliteJournal(settings.state / "journal.db")
    try:
        run = await _find(journal, run_id)
        events = [event for _, event in await journal.events(run.id)]
    finally:
        await journal.aclose()
    text = run_report(run, events, await diff_of(run, settings), run_savings(run, settings))
    return text, run.id.replace("/", "-")


async def _find(journal: SqliteJournal, run_id: str | None) -> Run:
    if run_id is not None and (found := await journal.load(run_id)) is not None:
        return found
    runs = await journal.runs()
    if run_id is None and runs:
        return runs[0]
    for run in runs:
        if run.issue.id == run_id:
            return run
    names = [run.id for run in runs]
    raise HarnessError(f"no run '{run_id}'{did_you_mean(run_id or '', names)}", "harness runs lists them")


async def diff_of(run: Run, settings: Settings) -> str:
    """The diff of the run's integrated work; empty where the repository no longer has it, and says so."""
    commit = run.landing.commit if run.landing else run.integration.commit if run.integration else None
    if commit is None or not run.base:
        return ""
    try:
        workspace = await GitWorkspace.open(settings.root)
        return await workspace.diff(run.base, commit)
    except GitError as error:
        say(f"without the changes: {error.message}")
        return ""
