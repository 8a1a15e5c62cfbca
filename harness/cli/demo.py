"""`harness demo`: a small real repository's queue worked off with a scripted model. No key, no server, no API.

Only the model's words are scripted: the worktrees, commands, tests, merges, conflicts and the sandbox are real.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from harness import proc, registry
from harness.claims import queue_lock
from harness.cli.common import put_json, say, show
from harness.cli.progress import progress
from harness.cli.report import diff_of
from harness.config.settings import Settings, load_settings
from harness.errors import HarnessError, SandboxError
from harness.journal import SqliteJournal
from harness.queue import work_queue
from harness.report.experiments import record
from harness.report.html import run_report
from harness.report.savings import Savings, counterfactual, run_savings
from harness.sandbox import detect
from harness.shipped import shipped
from harness.types import ModelCall, Run, Value, total
from harness.verify import failing_tests

EXAMPLES = """examples:
  harness demo                     in a new temporary folder, removed afterwards
  harness demo --keep              leave the folder, to look at the repository, the journal and the reports
  harness demo --dir /tmp/ledger   in a folder of your own, which is kept
"""
SCRIPTED = "scripted model: no API was called; costs are what these tokens would have cost"


class Tests(Value):
    """What the repository's own tests say."""

    ok: bool
    failing: tuple[str, ...] = ()
    ran: str = ""


class Shown(Value):
    """A whole demonstration: what `demo --json` prints, runs shortened."""

    folder: Path
    runs: tuple[Run, ...]
    before: Tests
    after: Tests
    savings: Savings
    reports: tuple[Path, ...]
    graph: str
    filed: tuple[str, ...]
    sandbox: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.after.ok and bool(self.runs) and all(run.accepted for run in self.runs)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, metavar="DIR", help="an empty or new folder to work in; it is kept")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on standard output, all else on standard error"
    )


def run(arguments: argparse.Namespace) -> int:
    root = _folder(arguments.dir)
    keep = arguments.keep or arguments.dir is not None
    try:
        shown = anyio.run(demonstrate, root)
        if arguments.json:
            put_json(as_json(shown))
        else:
            show(*lines_of(shown, keep))
        # What failed stays, so that somebody can see why.
        keep = keep or not shown.ok
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    return 0 if shown.ok else 1


def _folder(wished: Path | None) -> Path:
    """The scratch folder, made; raises HarnessError for one that holds something."""
    if wished is None:
        return Path(tempfile.mkdtemp(prefix="harness-demo-"))
    root = wished.expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
        used = any(root.iterdir())
    except OSError as error:
        raise HarnessError(f"{root}: {error.strerror}", "name a new folder: --dir DIR") from None
    if used:
        raise HarnessError(f"{root} is not empty; nothing was changed in it", "name a new folder: --dir DIR")
    return root


async def demonstrate(root: Path) -> Shown:
    """The example's queue, worked off in `root`; progress goes to standard error."""
    began = time.monotonic()
    settings = await _confined(await prepare(root))
    before = await tests_of(root)
    say(f"a repository with {len(before.failing)} failing tests and a queue of issues, in {root}", "")
    runs = await work_off(settings)
    reports = [await _report(run, settings) for run in runs]
    return Shown(
        folder=root,
        runs=tuple(runs),
        before=before,
        after=await tests_of(root),
        savings=savings_of(runs, settings),
        reports=tuple(reports),
        graph=await _git(root, "log", "--graph", "--oneline", "--no-decorate", "main"),
        filed=tuple(name for run in runs for name in run.filed),
        sandbox=settings.sandbox.mode,
        seconds=time.monotonic() - began,
    )


async def prepare(root: Path) -> Settings:
    """The example repository in `root`, committed, with its issues in `.beads/` and the scripted model's settings."""
    source = shipped("examples") / "demo"
    shutil.copytree(source / "repository", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "harness.yaml", root)
    await _git(root, "init", "-q", "-b", "main")
    await _git(root, "config", "user.name", "harness demo")
    await _git(root, "config", "user.email", "demo@localhost")
    await _git(root, "config", "commit.gpgsign", "false")
    await _git(root, "add", ".")
    await _git(root, "commit", "-q", "-m", "A household ledger, with work to do")
    (root / ".beads").mkdir()
    shutil.copy(source / "issues.jsonl", root / ".beads")
    return load_settings(root, overrides={"models": {"script": source / "script.yaml"}})


async def _confined(settings: Settings) -> Settings:
    """The settings with a sandbox that works here; without one, said loudly, with none: the script is ours."""
    try:
        found = await detect(settings.sandbox, settings.root)
    except SandboxError as error:
        say(f"WARNING: no sandbox works on this machine: {error.message}", f"  → {error.hint}" if error.hint else "")
        say("WARNING: the demonstration goes on WITHOUT a sandbox, because every command in it comes with harness.")
        say("WARNING: with a real model harness refuses to run like this.")
        mode = "none"
    else:
        mode = found.mode
    return settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"mode": mode})})


async def work_off(settings: Settings) -> list[Run]:
    """The queue, until nothing is ready that was not filed on the way."""
    runs: list[Run] = []

    async def finished(run: Run) -> None:
        await record(run, settings)
        runs.append(run)

    with progress() as listen, queue_lock(settings.state):
        async with registry.build(settings, [listen]) as deps:
            report = await work_queue(deps, partial(registry.pipeline, settings=settings), finished=finished)
    if report.stopped:
        raise HarnessError(f"the queue stopped: {report.stopped}")
    return runs


def savings_of(runs: Sequence[Run], settings: Settings) -> Savings:
    """All runs' money together."""
    calls: list[ModelCall] = []
    superseded: list[ModelCall] = []
    for run in runs:
        worked = [call for result in run.results for call in result.calls]
        # Equal task ids of different runs are different tasks.
        calls += [call.model_copy(update={"task_id": f"{run.id}/{call.task_id}"}) for call in worked]
        calls += [*run.other_calls, *(call for review in run.reviews for call in review.calls)]
        superseded += [call for result in run.superseded for call in result.calls]
    return counterfactual(calls, settings, superseded)


async def tests_of(root: Path) -> Tests:
    """The repository's tests, run in its checkout."""
    done = await proc.run([sys.executable, "-m", "unittest", "-q"], cwd=root)
    ran = next((line for line in done.output.splitlines() if line.startswith("Ran ")), "")
    return Tests(ok=done.ok, failing=failing_tests(done.output), ran=ran.partition(" in ")[0])


async def _report(run: Run, settings: Settings) -> Path:
    journal = SqliteJournal(settings.state / "journal.db")
    try:
        events = [event for _, event in await journal.events(run.id)]
    finally:
        await journal.aclose()
    path = settings.state / "reports" / f"{run.id}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(run_report(run, events, await diff_of(run, settings), run_savings(run, settings)), encoding="utf-8")
    return path


async def _git(root: Path, *words: str) -> str:
    done = await proc.run(["git", *words], cwd=root)
    if not done.ok:
        raise HarnessError(f"git {words[0]} failed: {done.output.strip()}", "harness doctor says what is missing")
    return done.stdout.rstrip()


# ── telling it ────────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(shown: Shown, keep: bool) -> list[str]:
    """The end of the demonstration for people."""
    savings, failing = shown.savings, len(shown.before.failing)
    lines = ["", *_table(shown.runs), ""]
    lines.append(f"cost by tier    {_money(savings.by_tier)}")
    lines.append(f"cost by phase   {_money(savings.by_phase)}")
    lines += [f"  {sentence}" for sentence in savings.sentences()]
    lines += ["  (estimates: the same tokens at other prices; such small tasks make planning and reviews dear)", ""]
    lines += [shown.graph, ""]
    lines.append(f"tests before: {shown.before.ran}, {failing} failing")
    after = "OK" if shown.after.ok else f"{len(shown.after.failing)} failing"
    lines.append(f"tests after:  {shown.after.ran}, {after}")
    lines += [f"filed for later, and not worked: {', '.join(shown.filed)}"] if shown.filed else []
    lines.append(f"sandbox: {shown.sandbox}; {shown.seconds:.0f} s; {SCRIPTED}")
    if keep:
        lines += ["", f"kept: {shown.folder}", "reports, one file each, for any browser:"]
        lines += [f"  {path}" for path in shown.reports]
        lines.append(f"look around: cd {shown.folder} && {program()} runs")
    else:
        lines.append("the folder and its HTML reports are removed now; to keep them: harness demo --keep")
    return lines


def program() -> str:
    """How harness is called from any folder: by its path, where it is not on PATH, as after `make demo`."""
    return "harness" if shutil.which("harness") else str(Path(sys.executable).with_name("harness"))


def _table(runs: tuple[Run, ...]) -> list[str]:
    rows = [("issue", "routed by", "tiers", "cost", "what happened")]
    for run in runs:
        tiers = Counter(call.tier for call in run.calls)
        rows.append((
            run.issue.id,
            f"{run.route.strategy}: {run.route.rule}",
            " + ".join(tiers),
            f"${run.usage.cost_usd:.4f}",
            "; ".join((run.status, *story(run))),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])) for row in rows]


def story(run: Run) -> list[str]:
    """What was out of the ordinary in a run, a phrase each."""
    told = []
    if len(run.results) > 1:
        told.append(f"{len(run.results)} tasks")
    for result in run.results:
        if result.escalated:
            tiers = " → ".join(dict.fromkeys(attempt.tier for attempt in result.attempts))
            told.append(f"{len(result.attempts)} attempts, escalated {tiers}")
    if run.integration:
        told += [f"conflict: {task} redone" for task in run.integration.conflicts]
        told += [f"clean merge broke tests: {task} redone" for task in run.integration.broken]
    told += [f"review: {' → '.join(review.verdict for review in run.reviews)}"] if run.reviews else []
    told += [f"filed {', '.join(run.filed)}"] if run.filed else []
    return told + ([run.error] if run.error else [])


def _money(costs: dict[str, Decimal]) -> str:
    return ", ".join(f"{name} ${usd:.4f}" for name, usd in costs.items())


def as_json(shown: Shown) -> dict[str, Any]:
    """The stable shape of `demo --json`."""
    rows = [
        {
            "run": run.id,
            "issue": run.issue.id,
            "status": run.status,
            "strategy": run.route.strategy,
            "rule": run.route.rule,
            "pipeline": run.pipeline.name,
            "tiers": list(dict.fromkeys(call.tier for call in run.calls)),
            "usd": str(run.usage.cost_usd),
            "story": story(run),
        }
        for run in shown.runs
    ]
    calls = [call for run in shown.runs for call in run.calls]
    return {
        "ok": shown.ok,
        "runs": rows,
        "usage": total(calls),
        "savings": shown.savings,
        "tests": {"before": shown.before, "after": shown.after},
        "filed": shown.filed,
        "folder": str(shown.folder),
        "reports": [str(path) for path in shown.reports],
        "sandbox": shown.sandbox,
        "seconds": shown.seconds,
        "scripted": True,
        "note": SCRIPTED,
    }
