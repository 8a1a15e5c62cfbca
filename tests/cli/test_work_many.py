"""Ten real `harness work --once` at the same time: in ten checkouts that share their issues, and in the same one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness.journal import SqliteJournal
from tests.cli.working import work
from tests.fakes.places import git, issues, place, row, writes

WORKERS = 10
ISSUES = 3
SLOW = {**writes(), "turns": [{**writes()["turns"][0], "seconds": 0.5}, writes()["turns"][1]]}
"""Slow enough that all ten are there while the first is at work."""


def shared_file(folder: Path) -> tuple[list[Path], list[str]]:
    """Ten clones whose settings name one issue file."""
    names = [f"x{number}" for number in range(ISSUES)]
    file = folder / "shared" / "issues.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row(name)) + "\n" for name in names))
    origin = place(folder / "origin", [], [SLOW], tracker={"kind": "jsonl", "path": str(file)}).root
    return [clone(origin, folder / f"clone{number}") for number in range(WORKERS)], names


def shared_database(folder: Path) -> tuple[list[Path], list[str]]:
    """Ten clones of a repository with a Beads database, each with bd's own redirect to it."""
    origin = place(folder / "origin", [], [SLOW], tracker={"kind": "beads"}).root
    shutil.rmtree(origin / ".beads")
    bd(origin, "init", "--prefix=x", "--quiet", "--skip-hooks")
    names = [json.loads(bd(origin, "create", f"Fix typo in {number}.txt", "--json"))["id"] for number in range(ISSUES)]
    clones = [clone(origin, folder / f"clone{number}") for number in range(WORKERS)]
    for one in clones:
        (one / ".beads").mkdir(exist_ok=True)
        (one / ".beads" / "redirect").write_text("../origin/.beads\n")
    return clones, names


def bd(repo: Path, *argv: str) -> str:
    return subprocess.check_output(["bd", *argv], cwd=repo, stdin=subprocess.DEVNULL, text=True)


def clone(origin: Path, into: Path) -> Path:
    git(origin, "clone", "-q", str(origin), str(into))
    return into


@pytest.mark.timeout(180)
@pytest.mark.parametrize("sharing", [shared_file, pytest.param(shared_database, marks=pytest.mark.needs_bd)])
async def test_ten_processes_run_each_issue_once(
    sharing: Callable[[Path], tuple[list[Path], list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BD_NON_INTERACTIVE", "1")
    clones, names = sharing(tmp_path)
    ends: list[tuple[int, dict[str, Any], str]] = []

    async def start(repo: Path) -> None:
        ends.append(await work(repo, "--once", "--parallel", "1", seconds=150))

    async with anyio.create_task_group() as group:
        for one in clones:
            group.start_soon(start, one)
    assert [(code, report.get("error"), err) for code, report, err in ends if code != 0] == []
    told = [run["issue"] for _, report, _ in ends for run in report["runs"]]
    assert sorted(told) == sorted(names), "each issue is run, and by one worker only"
    assert [await runs(one) for one in clones].count(0) < WORKERS - 1, "it was a race: more than one has worked"
    assert sum([await runs(one) for one in clones]) == len(names)


async def runs(repo: Path) -> int:
    journal = SqliteJournal(repo / ".harness" / "journal.db")
    try:
        return len(await journal.runs())
    finally:
        await journal.aclose()


@pytest.mark.timeout(180)
async def test_in_one_checkout_one_of_ten_works_and_the_others_say_who_does(tmp_path: Path) -> None:
    repo = place(tmp_path / "repo", [row("a"), row("b")], [SLOW]).root
    ends: list[tuple[int, dict[str, Any], str]] = []

    async def start() -> None:
        ends.append(await work(repo, "--once", seconds=150))

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(start)
    worked = [report for code, report, _ in ends if code == 0]
    assert sorted(run["issue"] for report in worked for run in report["runs"]) == ["a", "b"]
    refused = [(code, report["error"], err) for code, report, err in ends if code != 0]
    # Whoever comes after the first has ended finds nothing to do, and that is fine.
    assert len(refused) + len(worked) == WORKERS and refused
    for code, error, err in refused:
        assert code == 2 and "its queue is being worked off by process" in error["message"] and error["hint"]
        assert error["message"] in err
    assert len(issues(repo).read_text().splitlines()) == 2
