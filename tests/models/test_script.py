"""The format of a script, its matching, and its mistakes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.models.script import Facts, Script, read_script, script_of

FACTS = Facts(
    phase="execute",
    issue="demo-3",
    task="t1",
    tier="haiku",
    model="anthropic/claude-haiku-5-5",
    attempt=2,
    turn=3,
    last="exit code 1",
    prompt="system rules\nfix it\nAssertionError",
    said="fix it\nAssertionError",
    offers=("bash", "finish"),
)


def script(*replies: dict[str, Any]) -> Script:
    return script_of({"replies": list(replies)}, "demo.yaml")


def text_for(facts: Facts, *replies: dict[str, Any]) -> str | None:
    said = script(*replies).find(facts)
    return None if said is None else said.text


@pytest.mark.parametrize("when", [
    {}, {"phase": "execute"}, {"issue": "demo-*"}, {"task": ["t0", "t1"]}, {"tier": "ha*"}, {"model": "anthropic/*"},
    {"attempt": 2}, {"attempt": [1, 2]}, {"attempt": "2+"}, {"attempt": "2"}, {"turn": 3}, {"turn": "1+"},
    {"last": "code 1"}, {"last": ["exit", "code"]}, {"prompt": "system rules"}, {"after_feedback": "AssertionError"},
    {"offers": "fin*"},
])  # fmt: skip
def test_it_fits(when: dict[str, Any]) -> None:
    assert text_for(FACTS, {"when": when, "text": "yes"}) == "yes"


@pytest.mark.parametrize("when", [
    {"phase": "plan"}, {"issue": "demo"}, {"task": "t10"}, {"tier": "opus"}, {"model": "openai/*"}, {"attempt": 1},
    {"attempt": "3+"}, {"turn": [1, 2]}, {"last": ["exit", "code 2"]}, {"after_feedback": "system rules"},
    {"offers": "write"}, {"phase": "execute", "task": "t2"},
])  # fmt: skip
def test_it_does_not_fit(when: dict[str, Any]) -> None:
    assert text_for(FACTS, {"when": when, "text": "no"}) is None


def test_what_is_not_known_fits_no_condition() -> None:
    assert text_for(Facts(), {"when": {"attempt": "1+"}, "text": "no"}, {"when": {"task": "*"}, "text": "no"}) is None


def test_the_first_entry_that_fits_answers() -> None:
    assert text_for(FACTS, {"when": {"tier": "opus"}, "text": "a"}, {"text": "b"}, {"text": "c"}) == "b"


def test_turns_are_dealt_by_turn_and_end() -> None:
    replies = ({"when": {"task": "t1"}, "turns": [{"text": "one"}, {"text": "two"}]}, {"text": "beyond"})
    told = [text_for(FACTS.model_copy(update={"turn": turn}), *replies) for turn in (2, 1, 3)]
    assert told == ["two", "one", "beyond"]


def test_times_counts_calls_with_equal_facts_only() -> None:
    busy, seen = script({"error": {"kind": "unavailable"}, "times": 2}, {"text": "ok"}), Counter[tuple[int, Facts]]()
    other = FACTS.model_copy(update={"task": "t2"})

    def failed(facts: Facts) -> bool:
        said = busy.find(facts, seen)
        assert said is not None
        return said.error is not None

    assert [failed(FACTS), failed(other), failed(FACTS), failed(FACTS), failed(other), failed(other)] == [
        True, True, True, False, True, False
    ]  # fmt: skip


def test_a_missing_reply_is_told_in_the_scripts_words() -> None:
    assert script().missing(FACTS) == (
        "script demo.yaml has no reply for phase execute, issue demo-3, task t1, attempt 2, turn 3 (tier haiku)"
    )


@pytest.mark.parametrize(("replies", "problem"), [
    ([{"when": {"fase": "x"}, "text": "a"}], "demo.yaml: replies > 0 > when > fase: unknown key 'fase'"),
    ([{"text": "a"}, {"tekst": "b"}], "replies > 1 > tekst: unknown key 'tekst'"),
    ([{"when": {}}], "replies > 0: a reply is text, thinking, tools or json, or else one error"),
    ([{"text": "a", "error": {"kind": "auth"}}], "or else one error"),
    ([{"text": "a", "turns": [{"text": "b"}]}], "`text` stands beside `turns`"),
    ([{"turns": [{"tools": [{"input": {}}]}]}], "replies > 0 > turns > 0 > tools > 0 > name: is missing"),
    ([{"error": {"kind": "tired"}}], "replies > 0 > error > kind: has to be 'unavailable'"),
    ([{"when": {"attempt": "two"}, "text": "a"}], "attempt is a number, a list of numbers, or '2+'"),
    ([{"text": "a", "times": 0}], "replies > 0 > times"),
    ([{"text": "a", "usage": {"input": -1}}], "replies > 0 > usage > input"),
    ("text", "replies"),
])  # fmt: skip
def test_mistakes_are_named_with_their_place(replies: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        script_of({"replies": replies}, "demo.yaml")
    assert problem in str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text("replies:\n  - when: {phase: plan}\n    json: {summary: s}\ndefaults: {seconds: 0.1}\n")
    read = read_script(file)
    said = read.find(Facts(phase="plan"))
    assert said is not None and said.answer == {"summary": "s"} and read.defaults.seconds == 0.1
    with pytest.raises(ConfigError, match="no such file"):
        read_script(tmp_path / "other.yaml")
    file.write_text("replies: [{text: a, text: b}]")
    with pytest.raises(ConfigError, match="stands twice"):
        read_script(file)
