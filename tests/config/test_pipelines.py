"""Pipelines as people write them: what is read, and how mistakes are told before anything is claimed or paid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import registry
from harness.cli import main
from harness.config.pipelines import read_pipeline
from harness.config.settings import Settings
from harness.errors import ConfigError
from tests.fakes.places import issues, place, row, writes

FEATURE = """\
# Example: Multi-file feature
phases:
  1_planning:
    model: sonnet
    output: task_breakdown.md

  2_execution:
    model: haiku
    parallel: true
    tasks:
      - name: Create component
        file: src/lib/UserProfile.svelte
      - name: Add tests
        file: src/tests/users.test.ts

  3_review:
    model: opus
    trigger: label:security OR complexity:complex
"""


def _read(text: str, folder: Path, settings: Settings | None = None) -> None:
    file = folder / "written.yaml"
    file.write_text(text)
    registry.pipeline(str(file), settings or Settings(root=folder))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_phases_with_numbers(ending: str, tmp_path: Path) -> None:
    file = tmp_path / "feature.yaml"
    file.write_bytes(FEATURE.replace("\n", ending).encode())
    found = read_pipeline(file)
    assert [(phase.kind, phase.tier) for phase in found.phases] == [
        ("plan", "sonnet"), ("execute", "haiku"), ("review", "opus"),
    ]  # fmt: skip
    assert [task.files for task in found.phases[1].tasks] == [
        ("src/lib/UserProfile.svelte",), ("src/tests/users.test.ts",),
    ]  # fmt: skip


def test_a_phase_may_be_its_name_alone(tmp_path: Path) -> None:
    _read("phases:\n  1_planning:\n  2_execution:\n  3_review:\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("phases: {2_execution: {}, 3_more: {kind: execute}}", "phases > 3_more", "a second phase of the kind"),
        ("phases: {1_plan: {}, 2_plan: {}, 3_execute: {}}", "phases > 2_plan", "a second phase of the kind"),
        ("phases: {1_review: {}, 2_execution: {}}", "phases > 2_execution", "comes after '1_review'"),
        ("phases: {1_execution: {}, 2_planning: {}}", "phases > 2_planning", "plan goes before execute"),
        ("phases: {2_execution: {kind: exekute}}", "2_execution > kind", "did you mean 'execute'?"),
        ("phases: {2_execution: {trigger: label:x}}", "2_execution > trigger", "only a review has one"),
        ("phases: {1_planning: {trigger: files>=4}, 2_execution: {}}", "1_planning > trigger", "only a review has one"),
        ("phases: {2_execution: {model: haikuu}}", "2_execution > model", "did you mean 'haiku'?"),
        ("phases: {2_execution: {executor: codexx}}", "2_execution > executor", "did you mean 'codex'?"),
        ("phases: {2_execution: {executor: command}}", "2_execution > executor", "unknown executor"),
        ("phases: {2_execution: {tasks: [{name: A, model: gpt}]}}", "2_execution > tasks", "asks for tier 'gpt'"),
        ("phases: {2_execution: {tasks: [{name: A, depends_on: [b]}]}}", "2_execution > tasks", "no task of the plan"),
        ("phases: {2_execution: {tasks: [{name: A, file: ../x}]}}", "2_execution > tasks", "out of the repository"),
        (
            "phases: {2_execution: {tasks: [{name: A, id: a, depends_on: [b]}, {name: B, id: b, depends_on: [a]}]}}",
            "2_execution > tasks",
            "a → b → a",
        ),
    ],
)
def test_mistakes_are_named_where_they_stand(text: str, place: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        _read(text, tmp_path)
    assert "written.yaml" in str(told.value) and place in str(told.value) and problem in str(told.value)


def test_executors_of_the_user_s_own_are_known(tmp_path: Path) -> None:
    settings = Settings.model_validate({"root": tmp_path, "executors": {"mine": {"argv": ["mine"]}}})
    _read("phases: {2_execution: {executor: mine}}", tmp_path, settings)
    _read("phases: {2_execution: {executor: codex}}", tmp_path, settings)
    _read("phases: {2_execution: {executor: 'my.module:Mine'}}", tmp_path, settings)


def _harness_yaml(folder: Path, text: str) -> list[str]:
    (folder / "harness.yaml").write_text(text)
    return ["config", "check", "--repo", str(folder)]


def test_config_check_reads_all_that_work_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_harness_yaml(tmp_path, "executor: codexx\n")) == 2
    assert "did you mean 'codex'?" in capsys.readouterr().err
    assert main(_harness_yaml(tmp_path, "routing: {rules: [{name: a, tier: haikuu, words: [x]}]}\n")) == 2
    assert "routing > rules > 0 > tier" in capsys.readouterr().err
    assert (
        main(_harness_yaml(tmp_path, "routing: {rules: [{name: a, tier: haiku, words: [x], pipeline: singel}]}")) == 2
    )
    told = capsys.readouterr().err
    assert "routing > rules > 0 > pipeline: unknown pipeline 'singel'" in told and "did you mean 'single'?" in told
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "mine.yaml").write_text("phases: {1_execution: {}, 2_review: {trigger: 'label:x OR'}}")
    assert main(_harness_yaml(tmp_path, "version: 1\n")) == 2
    assert "mine.yaml: phases > 2_review > trigger, column 11" in capsys.readouterr().err
    (tmp_path / "pipelines" / "mine.yaml").write_text("phases: {1_execution: {}}")
    assert main([*_harness_yaml(tmp_path, "version: 1\n"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pipelines"] == ["mine", "plan-execute-review", "single"]


def test_config_check_reads_one_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FEATURE)
    assert main(["config", "check", str(file), "--repo", str(tmp_path)]) == 0
    assert "3_review: review with opus, when label:security OR complexity:complex" in capsys.readouterr().out
    file.write_text("phases: {1_execution: {modle: haiku}}")
    assert main(["config", "check", str(file), "--repo", str(tmp_path)]) == 2
    assert "did you mean 'model'?" in capsys.readouterr().err


@pytest.mark.parametrize("wish", [["--pipeline", "nope"], ["--executor", "nope"]])
def test_a_wish_that_is_nothing_leaves_the_issue_alone(wish: list[str], tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a-1")], [writes()])
    before = issues(settings.root).read_bytes()
    assert main(["run", "a-1", *wish, "--repo", str(settings.root)]) == 2
    assert issues(settings.root).read_bytes() == before
