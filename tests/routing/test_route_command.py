"""`harness route`: what it prints, in which shape, and how it refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.route import dollars


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".beads").mkdir()
    issue = {
        "id": "bd-1",
        "title": "Add logout button to header",
        "priority": 2,
        "issue_type": "task",
        "status": "open",
    }
    (tmp_path / ".beads" / "issues.jsonl").write_text(json.dumps(issue) + "\n")
    (tmp_path / "harness.yaml").write_text("tracker: {kind: jsonl}\n")
    return tmp_path


def test_an_issue_of_the_tracker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "bd-1", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "tier      haiku  (anthropic/claude-haiku-5-5)" in out
    assert "rule      small UI addition  (pattern)" in out
    assert "about $0.0015 (vs $0.028 with Sonnet)" in out
    assert "yes small UI addition" in out and "-   rename" in out


def test_the_documented_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--title", "Fix typo in README", "--label", "complexity:trivial", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        "issue", "tier", "model", "candidates", "pipeline", "strategy", "rule", "reason", "confidence",
        "estimated_cost", "baseline_cost", "baseline_tier", "warnings", "trace",
    }  # fmt: skip
    assert (answer["tier"], answer["strategy"], answer["pipeline"]) == ("haiku", "complexity", "single")
    assert Decimal(answer["estimated_cost"]) < Decimal(answer["baseline_cost"])
    assert set(answer["trace"][0]) == {"rule", "matched", "why"}


def test_a_batch_in_beads_form(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        '{"id": "a", "title": "Fix typo", "issue_type": "bug", "description": null}\n\n{"title": "Security audit"}\n'
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["route", "--stdin"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(answer["issue"]["id"], answer["tier"]) for answer in answers] == [("a", "haiku"), (None, "opus")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["route"], "say what to route"),
        (["route", "bd-1", "--title", "x"], "say what to route"),
        (["route", "bd-404"], "bd-404"),
    ],
)
def test_what_cannot_be_routed(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "problem"),
    [("{", "line 1: is not JSON"), ("[]", "is no issue"), ('{"id": 1, "title": "x"}', "line 1: id")],
)
def test_a_bad_line_is_named(
    line: str, problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert main(["route", "--stdin"]) == 2
    assert problem in capsys.readouterr().err


def test_a_bad_rule_in_the_settings(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "harness.yaml").write_text("routing: {rules: [{name: x, tier: opsu, words: [y]}]}\n")
    assert main(["route", "--title", "x", "--json"]) == 2
    captured = capsys.readouterr()
    assert "routing > rules > 0 > tier: no tier 'opsu'" in captured.err
    assert json.loads(captured.out)["error"]["kind"] == "ConfigError"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.003", "$0.0030"),
        ("0.0277", "$0.028"),
        ("0.00148", "$0.0015"),
        ("0.5", "$0.50"),
        ("12.346", "$12.35"),
    ],
)
def test_dollars(amount: str, shown: str) -> None:
    assert dollars(Decimal(amount)) == shown


def test_routing_a_title_loads_nothing_that_it_has_no_use_for(repository: Path) -> None:
    (repository / "harness.yaml").unlink()
    code = "import sys; from harness.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    argv = [sys.executable, "-c", code, "route", "--title", "Fix typo", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    answer, _, modules = subprocess.check_output(argv, text=True, env=environment).rpartition("}\n")
    loaded = set(modules.split())
    assert json.loads(answer + "}")["tier"] == "haiku"
    assert "pydantic" in loaded
    slow = {
        "asyncio",
        "anyio",
        "yaml",
        "tomllib",
        "difflib",
        "traceback",
        "sqlite3",
    }
    assert not slow & loaded
    assert not {"harness.protocols", "harness.registry", "harness.config.pipelines"} & loaded
