"""Side-by-side experiments: the verdict by known answers, and two issues worked for real by a scripted model."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from harness import proc
from harness.cli import main
from harness.outcomes import Outcomes
from harness.report.trial import Result, compare

SCRIPT = """
replies:
  - when: {phase: execute, tier: haiku, issue: "x-2*"}
    turns:
      - tools: [{name: bash, input: {command: "echo 'x = 1' > other.py"}}]
      - tools: [{name: finish, input: {summary: Done.}}]
  - when: {phase: execute}
    turns:
      - tools: [{name: bash, input: {command: "echo ok > good.txt"}}]
      - tools: [{name: finish, input: {summary: Done.}}]
"""
ISSUE = '{{"id":"{0}","title":"Fix typo {0}","description":"","status":"open","priority":2,"issue_type":"bug"}}\n'


def result(issue: int, tier: str, success: bool, counts: bool = True) -> Result:
    cost = Decimal("0.01") if tier == "haiku" else Decimal("0.10")
    return Result(issue_id=f"i{issue}", title="", tier=tier, run_id="r", success=success, counts=counts, cost_usd=cost,
                  unpriced=0, seconds=1, attempts=1)  # fmt: skip


def pairs(n: int, cheap: int, strong: int) -> list[Result]:
    return [result(i, tier, i < solved) for i in range(n) for tier, solved in (("haiku", cheap), ("sonnet", strong))]


@pytest.mark.parametrize(
    ("n", "cheap", "strong", "verdict"),
    [(10, 10, 10, "unclear"), (100, 98, 99, "met"), (10, 3, 10, "missed"), (40, 20, 20, "missed"),
     (10, 8, 10, "unclear"), (0, 0, 0, "unclear"), (100, 84, 100, "missed")],
)  # fmt: skip
def test_verdicts(n: int, cheap: int, strong: int, verdict: str) -> None:
    found = compare(pairs(n, cheap, strong), "haiku", "sonnet")
    assert found.verdict == verdict, found.reason
    assert (found.pairs, found.cheap_solved, found.strong_solved) == (n, cheap, strong)


def test_only_pairs_tried_to_their_end_are_compared() -> None:
    results = [*pairs(3, 3, 3), result(9, "haiku", True), result(8, "haiku", False, False), result(8, "sonnet", True)]
    found = compare(results, "haiku", "sonnet")
    assert found.pairs == 3
    assert found.strong_cost / found.cheap_cost == 10


@pytest.fixture
async def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "repo"
    (root / ".beads").mkdir(parents=True)
    (root / ".beads" / "issues.jsonl").write_text(ISSUE.format("x-1") + ISSUE.format("x-2"))
    (root / "script.yaml").write_text(SCRIPT)
    (root / "harness.yaml").write_text(
        "verify: [test ! -e other.py]\nmodels: {script: script.yaml}\ntracker: {kind: jsonl}\nsandbox: {mode: none}\n"
        "attempts_per_tier: 1\n"
    )
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root))
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "base")):
        done = await proc.run([*git, *arguments])
        assert done.ok, done.output
    return root


def test_two_issues_on_two_tiers(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["experiments", "run", "--tiers", "haiku,sonnet", "-n", "2", "-C", str(repo)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "haiku      solved 1 of 2" in out and "sonnet     solved 2 of 2" in out
    assert "UNCLEAR" in out and "no API was called" in out
    with Outcomes(repo / ".harness") as store:
        made = list(store.latest())
    assert {(one.tier, one.success) for one in made if one.issue_id.startswith("x-2")} == {("haiku", 0), ("sonnet", 1)}
    assert all(one.experiment and not one.landed and not one.starts for one in made)
    assert (repo / ".beads" / "issues.jsonl").read_text() == ISSUE.format("x-1") + ISSUE.format("x-2"), (
        "tracker untouched"
    )
    spent = sum(one.cost_nusd for one in made)
    assert main(command) == 0
    with Outcomes(repo / ".harness") as store:
        assert sum(one.cost_nusd for one in store.latest()) == spent, "what is finished is not paid again"


def test_a_budget_stops_it_in_order(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["experiments", "run", "--tiers", "haiku,sonnet", "-C", str(repo), "--budget-usd", "0.000001"]
    assert main(command) == 0
    assert "Stopped: the experiment's budget is used up" in capsys.readouterr().out
