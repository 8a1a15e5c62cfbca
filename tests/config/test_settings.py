"""Which file is read, and what holds where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import registry
from harness.config.settings import find_settings, load_settings
from harness.errors import ConfigError


@pytest.mark.parametrize(
    ("tiers", "planner", "reviewer", "worker"),
    [
        ("{small: a/s}", "small", "small", "small"),
        ("{small: a/s, large: a/l}", "large", "large", "small"),
        ("{s: a/s, m: a/m, l: a/l}", "m", "l", "s"),
        ("{tiny: a/t, haiku: a/h, sonnet: a/s, opus: a/o}", "sonnet", "opus", "haiku"),
    ],
)
def test_tiers_of_ones_own_are_all_that_has_to_be_said(
    tiers: str, planner: str, reviewer: str, worker: str, tmp_path: Path
) -> None:
    (tmp_path / "harness.yaml").write_text(f"tiers: {tiers}\n")
    settings = load_settings(tmp_path)
    assert (settings.planner, settings.reviewer) == (planner, reviewer)
    assert (settings.routing.default_tier, settings.routing.baseline_tier) == (planner, planner)
    built_in = registry.pipeline("plan-execute-review", settings)
    assert [phase.tier for phase in built_in.phases] == [None, worker, reviewer]


def test_what_is_said_of_a_role_stands(tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text("tiers: {s: a/s, l: a/l}\nplanner: s\nrouting: {default_tier: s}\n")
    settings = load_settings(tmp_path)
    assert (settings.planner, settings.routing.default_tier, settings.reviewer) == ("s", "s", "l")
    (tmp_path / "harness.yaml").write_text("tiers: {s: a/s}\nplanner: sonnet\n")
    with pytest.raises(ConfigError, match="planner: no tier 'sonnet'"):
        load_settings(tmp_path)


def test_a_pipeline_of_ones_own_is_taken_at_its_word(tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text("tiers: {s: a/s}\n")
    (tmp_path / "own.yaml").write_text("phases: {1_execution: {model: haiku}}\n")
    with pytest.raises(ConfigError, match="no tier 'haiku'; known: s"):
        registry.pipeline(str(tmp_path / "own.yaml"), load_settings(tmp_path))


def test_a_settings_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    file = tmp_path / "harness.yaml"
    file.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        load_settings(tmp_path)


def test_of_two_settings_files_none_is_ignored(tmp_path: Path) -> None:
    assert find_settings(tmp_path) is None
    (tmp_path / "harness.yml").write_text("")
    assert find_settings(tmp_path) == tmp_path / "harness.yml"
    (tmp_path / "harness.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"harness.yaml: there is .*harness.yml as well"):
        find_settings(tmp_path)


@pytest.mark.parametrize("amount", ["1e999999999", "-1", "NaN", "Infinity", "ten"])
def test_an_amount_that_cannot_be_counted_with_is_refused(amount: str, tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text(f"budget: {{usd: '{amount}'}}\n")
    with pytest.raises(ConfigError, match="budget > usd"):
        load_settings(tmp_path)


def test_every_mode_may_be_written_out(tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text("routing: {mode: direct, direct: {}, proxy: {timeout: 5}}\n")
    assert load_settings(tmp_path).routing.mode == "direct"
