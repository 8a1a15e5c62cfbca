"""One routing logic: whoever asks about an issue gets the same answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.cli import main
from harness.cli.sling import read_and_route
from harness.config.settings import Settings, load_settings
from harness.engine import Wishes, begin
from harness.protocols import Wanted
from harness.routing.router import build_router
from harness.suggest import suggest
from harness.trackers import record
from harness.trackers.jsonl import JsonlTracker

QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"

pytestmark = pytest.mark.skipif(not QUEUE.exists(), reason="needs the real queue beside the checkout")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Path]:
    """A repository with 500 real issues, all open and nobody's, and a file that some of them name."""
    lines = QUEUE.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if row["issue_type"] in ("task", "bug", "feature", "chore", "epic")][:500]
    (tmp_path / ".beads").mkdir()
    with (tmp_path / ".beads" / "issues.jsonl").open("w") as file:
        for row in rows:
            kept = {key: row[key] for key in ("id", "title", "description", "priority", "issue_type") if key in row}
            file.write(json.dumps({**kept, "status": "open"}) + "\n")
    named = tmp_path / "cmd" / "bd" / "main.go"
    named.parent.mkdir(parents=True)
    named.write_text("package main\n")
    (tmp_path / "script.yaml").write_text("replies: []\n")
    (tmp_path / "harness.yaml").write_text("models: {script: script.yaml}\nsandbox: {mode: none}\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Begin"]):
        subprocess.check_call([*git, *argv])
    yield tmp_path


@pytest.mark.timeout(240)
async def test_engine_sling_and_suggestion_agree(repo: Path) -> None:
    settings: Settings = load_settings(repo)
    tracker, router = JsonlTracker(settings), build_router(settings)
    issues = await tracker.ready(Wanted())
    assert len(issues) > 50
    expected = {issue.id: router.route(issue) for issue in issues}
    assert len({decision.tier for decision in expected.values()}) == 3, "a queue of one tier would prove nothing"

    slung = {issue.id: (await read_and_route(tracker, router, issue.id))[1] for issue in issues}
    assert slung == expected

    async with registry.build(settings) as deps:
        for issue in issues:
            run = await begin(issue, deps, lambda name: registry.pipeline(name, settings), Wishes())
            assert run.route == expected[issue.id]
        suggested = dict(await suggest([issue.id for issue in issues], tracker, deps.router, "w"))
    assert suggested == expected
    for issue_id, decision in expected.items():
        assert (await tracker.get(issue_id)).labels == (f"model:{decision.tier}",)


@pytest.mark.timeout(240)
def test_the_command_line_agrees(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings(repo)
    rows = [json.loads(line) for line in (repo / ".beads" / "issues.jsonl").read_text().splitlines()]
    router = build_router(settings)
    for row in rows[:: max(1, len(rows) // 50)]:
        capsys.readouterr()
        assert main(["route", row["id"], "-C", str(repo), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        expected = router.route(record.issue(row, "jsonl", ()))
        assert told["tier"] == expected.tier and told["rule"] == expected.rule
