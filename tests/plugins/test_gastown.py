"""The harness in a real Gas Town: agents, formula, convoys, slings. Only `gt sling` is a stand-in."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.outcomes import Outcomes
from harness.shipped import shipped
from tests.plugins.town import RealTown, make_town

pytestmark = [
    pytest.mark.needs_gt, pytest.mark.needs_bd, pytest.mark.needs_sqlite, pytest.mark.slow, pytest.mark.timeout(180)
]  # fmt: skip

PLUGIN = shipped("plugins") / "gastown"


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory) -> RealTown:
    return make_town(tmp_path_factory.mktemp("gastown"))


@pytest.fixture
def town(whole_town: RealTown, monkeypatch: pytest.MonkeyPatch) -> RealTown:
    for name, value in whole_town.variables.items():
        monkeypatch.setenv(name, value)
    whole_town.slung.unlink(missing_ok=True)
    return whole_town


def settings(folder: Path, replies: list[dict[str, Any]]) -> str:
    """A settings file with a scripted model."""
    (folder / "script.yaml").write_text(yaml.safe_dump({"replies": replies}))
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "models": {"script": str(folder / "script.yaml")}}))
    return str(path)


def works(task: str, command: str) -> dict[str, Any]:
    turns = [
        {"tools": [{"name": "bash", "input": {"command": command}}]},
        {"tools": [{"name": "finish", "input": {"summary": "Done."}}]},
    ]
    return {"when": {"phase": "execute", "task": task}, "turns": turns}


def planned(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"when": {"phase": "plan"}, "json": {"summary": "As given", "tasks": list(tasks)}}


def node(issue: str, file: str, *after: str) -> dict[str, Any]:
    made = {"id": issue, "title": issue, "instructions": f"write {file}", "files": [file]}
    return {**made, "depends_on": list(after), "verify": [f"test -f {file}"], "tier": None}


def test_a_convoy_is_planned_swarmed_merged_and_reviewed(
    town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = town.issue("Profile page")
    avatar = town.issue("Avatar", "--labels=security")
    busy = town.issue("Somebody is at it", "--assignee=csm/polecats/nux")
    town.call("bd", "dep", "add", avatar, profile)
    convoy = town.convoy("User Management", profile, avatar, busy)
    config = settings(tmp_path, [
        planned(node(profile, "profile.txt"), node(avatar, "avatar.txt", profile)),
        works(profile, "echo profile > profile.txt"),
        works(avatar, "cp profile.txt avatar.txt"),
        {"when": {"phase": "review", "tier": "opus"}, "json": {"verdict": "approve", "summary": "", "findings": []}},
    ])  # fmt: skip
    asked = ["convoy", "deploy", convoy, "-C", str(town.clone), "-c", config, "--json"]
    tiers = ["--planner=sonnet", "--executor=haiku", "--reviewer=opus"]
    assert main([*asked, *tiers]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["members"] == [profile, avatar]
    assert told["left_alone"] == [{"id": busy, "why": "is open with csm/polecats/nux"}]
    run = told["run"]
    assert run["status"] == "done" and run["scripted"]
    assert {task["id"]: task["depends_on"] for task in run["plan"]["tasks"]} == {profile: [], avatar: [profile]}
    assert {
        call["tier"] for result in run["results"] for attempt in result["attempts"] for call in attempt["calls"]
    } == {"haiku"}
    assert [review["verdict"] for review in run["reviews"]] == ["approve"], "a security label asks for Opus"
    assert town.call("git", "show", f"{run['landing']['branch']}:avatar.txt") == "profile\n"
    for issue in (profile, avatar):
        assert town.show(issue)["assignee"] == f"harness/{convoy}"
        assert run["id"] in town.call("bd", "comments", issue)
    with Outcomes(town.clone / ".harness", create=False) as store:
        assert {outcome.task_id for outcome in store.latest() if outcome.run_id == run["id"]} == {profile, avatar}
    assert "assignee" in town.show(busy) and run["id"] not in town.call("bd", "comments", busy)

    assert main([*asked, *tiers]) == 0
    captured = capsys.readouterr()
    assert "awaits your merge" in captured.err and json.loads(captured.out)["run"]["id"] == run["id"]


def test_what_does_not_pass_is_given_back(town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue = town.issue("Impossible")
    convoy = town.convoy("Hopeless", issue)
    config = settings(tmp_path, [planned(node(issue, "never.txt")), works("*", "echo wrong > other.txt; rm other.txt")])
    assert main(["convoy", "deploy", convoy, "-C", str(town.clone), "-c", config, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["run"]["status"] == "failed"
    back = town.show(issue)
    assert back["status"] == "open" and "assignee" not in back
    assert "failed" in town.call("bd", "comments", issue)


def test_from_the_towns_root_it_finds_the_rig(town: RealTown, capsys: pytest.CaptureFixture[str]) -> None:
    convoy = town.convoy("From above", town.issue("One"))
    assert main(["convoy", "deploy", convoy, "-C", str(town.root), "--dry-run"]) == 0
    assert f"working in {town.root / 'csm' / 'mayor' / 'rig'}" in capsys.readouterr().err


def test_gas_towns_workers_get_it_tier_by_tier_and_the_review_comes_last(
    town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typo = town.issue("Fix typo in README")
    audit = town.issue("Security audit of auth", "--labels=security")
    town.call("bd", "dep", "add", audit, typo)
    convoy = town.convoy("By polecats", typo, audit)
    config = settings(tmp_path, [])
    deploy = ["convoy", "deploy", convoy, "-C", str(town.clone), "-c", config, "--via=gastown", "--json"]

    def slung() -> list[str]:
        capsys.readouterr()
        assert main(deploy) == 0
        captured = capsys.readouterr()
        json.loads(captured.out)
        return town.slung.read_text().splitlines() if town.slung.exists() else []

    first = f"sling {typo} csm --agent claude-haiku"
    assert slung() == [first]
    assert slung() == [first], "what is in flight is left alone, and what it blocks waits"
    town.call("bd", "close", typo)
    second = f"sling {audit} csm --agent claude-opus"
    assert slung() == [first, second]
    town.call("bd", "close", audit)
    *before, last = slung()
    review = last.split()[1]
    assert before == [first, second] and last == f"sling {review} csm --agent claude-opus"
    assert "as a whole" in str(town.show(review)["title"])
    town.call("bd", "close", review)
    assert slung() == [*before, last], "reviewed once"


def test_watching_goes_on_until_the_convoy_is_done(
    town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = town.issue("Fix typo in README"), town.issue("Rename the module")
    town.call("bd", "dep", "add", second, first)
    convoy = town.convoy("Watched", first, second)
    config = Path(settings(tmp_path, []))
    config.write_text(config.read_text() + "queue: {poll_seconds: 0.1}\n")
    quick = town.slung.with_name(town.slung.name + ".quick")
    quick.touch()
    try:
        argv = ["convoy", "deploy", convoy, "-C", str(town.clone), "-c", str(config), "--via=gastown", "--watch"]
        assert main([*argv, "--reviewer=sonnet", "--json"]) == 0
    finally:
        quick.unlink()
    slung = [(one["issue_id"], one["agent"]) for one in json.loads(capsys.readouterr().out)["slung"]]
    assert slung[:2] == [(first, "claude-haiku"), (second, "claude-haiku")]
    assert [agent for _, agent in slung[2:]] == ["claude-sonnet"], "the review of the whole, last"


def test_smart_sling_says_what_it_read_and_why(town: RealTown, capsys: pytest.CaptureFixture[str]) -> None:
    issue = town.issue("Fix typo in README")
    assert main(["sling", issue, "csm", "-C", str(town.root)]) == 0
    said = capsys.readouterr().out
    assert f"{issue} “Fix typo in README”" in said
    assert "route:      haiku (anthropic/claude-haiku-5-5), agent claude-haiku" in said
    assert "with sonnet" in said and "$" in said
    assert town.slung.read_text() == f"sling {issue} csm --agent claude-haiku\n"
    assert main(["sling", issue, "csm", "-C", str(town.root)]) == 2
    assert "a bead in flight is left alone" in capsys.readouterr().err


def test_the_real_sling_takes_these_arguments(town: RealTown) -> None:
    """The stand-in stands for what gt accepts: the same call, dry, by gt itself."""
    issue = town.issue("Dry")
    town.call("gt", "config", "agent", "set", "claude-haiku", "claude --model x", cwd=town.root)
    real = [
        line for line in (Path(town.variables["PATH"].split(":")[0]) / "gt").read_text().splitlines() if "exec" in line
    ]
    gt = real[-1].split('"')[1]
    said = town.call(gt, "sling", issue, "csm", "--agent", "claude-haiku", "--dry-run", cwd=town.root)
    assert "Would spawn fresh polecat in rig 'csm'" in said
    town.call("gt", "config", "agent", "remove", "claude-haiku", cwd=town.root)


def test_agents_and_formula_come_and_go(town: RealTown, capsys: pytest.CaptureFixture[str]) -> None:
    town.call("gt", "config", "agent", "set", "claude-opus", "my-own --opus", cwd=town.root)
    assert main(["init", "--gastown", "-C", str(town.clone)]) == 0
    assert "left agent claude-opus: it runs `my-own --opus`" in capsys.readouterr().out
    agents = town.agents()
    assert agents["claude-haiku"].endswith("--model claude-haiku-5-5")
    assert agents["claude-sonnet"].endswith("--model claude-sonnet-5-5")
    shown = town.call("gt", "formula", "show", "harness-swarm", cwd=town.root)
    assert "{{convoy}}" in shown and "required" in shown
    assert main(["init", "--gastown", "--remove", "-C", str(town.clone)]) == 0
    assert set(town.agents()) & {"claude-haiku", "claude-sonnet", "claude-opus"} == {"claude-opus"}
    assert not list((town.root / ".beads" / "formulas").glob("harness*"))
    town.call("gt", "config", "agent", "remove", "claude-opus", cwd=town.root)


def test_wrong_names_are_told(town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, told in (
        (["convoy", "deploy", "hq-cv-none", "-C", str(town.root)], "no convoy 'hq-cv-none'"),
        (["sling", "cs-none", "csm", "-C", str(town.root)], "no issue 'cs-none'"),
        (["sling", "cs-none", "cms", "-C", str(town.root)], "no rig 'cms'"),
        (["convoy", "deploy", "hq-cv-none", "-C", str(tmp_path)], "is in no Gas Town"),
    ):
        assert main(argv) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_gt_swarm_is_gts_own_command(town: RealTown, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    for name in ("gt-swarm", "gt-smart-sling"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    script = "gt swarm deploy 'a b' --executor=haiku; gt smart-sling c r; gt version"
    said = town.call(shell, "-c", f". {PLUGIN / 'gt.sh'}; PATH={tmp_path}:$PATH; {script}").splitlines()
    assert said[:2] == ["gt-swarm deploy a b --executor=haiku", "gt-smart-sling c r"]
    assert said[2].startswith("gt version")


def test_the_executables_hand_on_to_the_harness(town: RealTown) -> None:
    said = subprocess.run(  # noqa: TID251 - as a user would
        [PLUGIN / "gt-swarm", "deploy", "x"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2 and "pip install beads-harness" in said.stderr


def test_an_interrupted_deploy_goes_on_with_the_same_command(
    town: RealTown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issue = town.issue("Long work")
    convoy = town.convoy("Interrupted", issue)
    outage = {"when": {"phase": "execute"}, "error": {"kind": "unavailable", "retry_after": 999}}
    deploy = ["convoy", "deploy", convoy, "-C", str(town.clone), "--json", "-c"]
    assert main([*deploy, settings(tmp_path, [planned(node(issue, "long.txt")), outage])]) == 130
    first = json.loads(capsys.readouterr().out)["run"]
    assert first["status"] == "interrupted" and town.show(issue)["assignee"] == f"harness/{convoy}"
    assert main([*deploy, settings(tmp_path, [works(issue, "echo done > long.txt")])]) == 0, (
        "the plan is not asked again"
    )
    second = json.loads(capsys.readouterr().out)["run"]
    assert (second["id"], second["status"], second["plan"]) == (first["id"], "done", first["plan"])
