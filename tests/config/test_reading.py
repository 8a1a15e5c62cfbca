"""What people write into configuration files, and how they are told what is wrong with it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from harness.config.settings import Settings, load_settings
from harness.errors import ConfigError


def _settings(text: str | bytes, folder: Path) -> Settings:
    (folder / "harness.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings(folder, variables={})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("verify: pytest -q", """verify: expected a list, got 'pytest -q'; write ["pytest -q"]"""),
        ("verify: {a: b}", "verify: expected a list, got a mapping"),
        ("verify: [1]", "verify > 0: expected text, got '1'"),
        ("max_parallel: many", "max_parallel: expected a whole number, got 'many'"),
        ("max_parallel: 0", "max_parallel: has to be greater than or equal to 1, got '0'"),
        ("budget: {usd: 2 dollars}", "budget > usd: expected a number, got '2 dollars'"),
        ("budget: 5", "budget: expected a mapping, got '5'"),
        ("content: maybe", "content: expected true or false, got 'maybe'"),
        ("land: mrege", "land: has to be 'branch', 'merge' or 'pr', got 'mrege'"),
        ("tiers: {haiku: []}", "write e.g. [anthropic/claude-haiku-5-5]"),
        ("verfy: [a]", "did you mean 'verify'?"),
        ("verify: [a]\nverify: [b]", "line 2, column 1: key 'verify' stands twice"),
        ("tiers:\n\thaiku: a/b", "line 2, column 1: "),
        ("a: [", "line 2, column 1"),
        ("x: !!python/object:os.system {}", "line 1, column 4"),
        ("version: 1\n---\nversion: 1", "another document"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        ("a: &a [*a]", "recursive"),
        ("executors: {mine: {argv: []}}", "executors > mine > argv: needs at least 1, and has 0"),
    ],
)
def test_mistakes_are_told_in_the_writer_s_words(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        _settings(text, tmp_path)
    assert told in str(error.value) and str(tmp_path / "harness.yaml") in str(error.value)
    assert "tuple" not in str(error.value) and "dictionary" not in str(error.value)


def test_a_misspelt_key_is_told_before_the_one_it_leaves_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'argv'"):
        _settings("executors: {mine: {arg: [x]}}", tmp_path)


def test_a_section_that_is_wrong_as_a_whole_is_not_called_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        _settings("tiers: {haiku: [anthropic]}", tmp_path)
    assert "has no provider" in str(error.value) and "got a mapping" not in str(error.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_and_byte_order_marks_of_any_editor(mark: str, ending: str, tmp_path: Path) -> None:
    read = _settings(mark + ending.join(["version: 1", "verify:", "  - pytest -q", ""]), tmp_path)
    assert read.verify == ("pytest -q",)


def test_anchors_and_merged_mappings(tmp_path: Path) -> None:
    read = _settings("budget: &cap {usd: 2, calls: 9}\ntask_budget: {<<: *cap, usd: 1}\n", tmp_path)
    assert (read.budget.usd, read.task_budget.usd, read.task_budget.calls) == (Decimal(2), Decimal(1), 9)


def test_what_a_merged_mapping_repeats_is_no_twin_but_what_is_written_twice_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="key 'usd' stands twice"):
        _settings("budget: &cap {usd: 2}\ntask_budget: {<<: *cap, usd: 1, usd: 3}\n", tmp_path)
