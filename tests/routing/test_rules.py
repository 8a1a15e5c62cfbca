"""Named rules: whole words and their endings, in order, never substrings; the user's own on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.config.settings import RoutingSettings, Settings
from harness.errors import ConfigError
from harness.routing.rules import READY, load_rules
from harness.routing.words import Reading, forms
from harness.types import Issue
from tests.tools import built_in_rules

RULES = load_rules(Settings())
QUEUE = Path(__file__).parents[3] / "shared" / "data" / "beads-queue.jsonl"


def ask(title: str, body: str = "", **more: Any) -> tuple[str | None, str]:
    verdict = RULES.ask(Issue(id="x", title=title, body=body, **more))
    return verdict.rule.name if verdict.rule else None, verdict.tier


@pytest.mark.parametrize(
    ("title", "rule", "tier"),
    [
        ("Rename variable X to Y", "rename", "haiku"),
        ("Please rename getUserData", "rename", "haiku"),
        ("chore(web): rename the flag", "rename", "haiku"),
        ("[web] Rename the flag", "rename", "haiku"),
        ("Fix typo in README", "typo", "haiku"),
        ("Fix several small typos", "typo", "haiku"),
        ("Update text on the landing page", "wording", "haiku"),
        ("Add console.log to the parser", "log line", "haiku"),
        ("Add a log line when the cache misses", "log line", "haiku"),
        ("Format the security report", "format", "haiku"),
        ("Fix linting errors", "lint", "haiku"),
        ("Scaffold the settings page", "scaffold", "haiku"),
        ("Generate User CRUD endpoints", "CRUD", "haiku"),
        ("Generate the API client", "generate", "haiku"),
        ("Add CRUD endpoints for users", "CRUD", "haiku"),
        ("Bump httpx from 1.0 to 1.1", "bump", "haiku"),
        ("Add logout button to header", "small UI addition", "haiku"),
        ("Remove unused imports", "tidy", "haiku"),
        ("Run tests and linting", "mechanical word", "haiku"),
        ("Security audit of auth", "security", "opus"),
        ("Refactor auth system", "authentication", "opus"),
        ("Fix crash in auth_middleware", "authentication", "opus"),
        ("Rotate the signing tokens", "credentials", "opus"),
        ("Passwords are logged", "credentials", "opus"),
        ("Encrypt backups", "cryptography", "opus"),
        ("Design payment flow", "payment", "opus"),
        ("Race-condition in the queue", "race condition", "opus"),
        ("Fix a memory leak in the watcher", "memory leak", "opus"),
        ("Review the README", "review", "opus"),
        ("Auditing of the exporter", "audit", "opus"),
        ("Design the settings page", "design", "sonnet"),
        ("Event-driven architecture", "design", "sonnet"),
        ("Planning for the next release", "plan", "sonnet"),
        ("Agree on the API contract", "API contract", "sonnet"),
    ],
)
def test_what_titles_get(title: str, rule: str, tier: str) -> None:
    assert ask(title) == (rule, tier)


@pytest.mark.parametrize(
    "title",
    [
        "Fix platform detection",
        "Improve the explanation of errors",
        "Show the author of a comment",
        "Important: import order of plugins",
        "Deploy to planet scale",
        "Add --format json to the list command",
        "plan_id is null in the export",
        "Crash when docs/plan.md is missing",
        "Splinter the monolith",
        "Reduce token usage of the prompt",
        "Count tokens per request",
        "Preview images in the list",
        "Fix rename-prefix to update the cache",
        "Implement bd lint command",
        "Switch storage to TOON format",
        "Address review comments",
        "",
    ],
)
def test_words_that_only_look_alike(title: str) -> None:
    assert ask(title) == (None, "")


def test_critical_design_is_for_the_strongest() -> None:
    assert ask("Design the cache", priority=0) == ("design", "opus")
    assert ask("Design the cache", labels=("critical",)) == ("design", "opus")
    assert ask("Design the cache", labels=("security",)) == ("design", "opus")
    assert ask("Design the cache", priority=1) == ("design", "sonnet")


def test_a_body_counts_only_for_risk_and_only_when_it_means_it() -> None:
    long = "Some words about nothing in particular. " * 20
    assert ask("Fix login", "There is a security vulnerability here.") == ("security", "opus")
    assert ask("Fix login", f"{long} It smells of a race condition.") == (None, "")
    assert ask("Fix login", f"{long} A race condition. Yes, a race condition.") == ("race condition", "opus")
    assert ask("Fix login", "Please rename and format it, then review the plan.") == (None, "")
    assert ask("Fix login", "```\nFix authentication bug\n```") == (None, "")
    assert ask("Fix typo in the docs", "This is a security vulnerability.") == ("typo", "haiku")


def test_the_trace_tells_of_every_rule_up_to_the_one_that_fits() -> None:
    verdict = RULES.ask(Issue(id="x", title="Reduce token usage, then design it"))
    lines = {line.rule: line for line in verdict.trace}
    assert lines["credentials"].why == "title: 'token', but 'token usage' speaks against it"
    assert not lines["rename"].matched and lines["rename"].why == "no such words at the start"
    assert verdict.trace[-1].rule == "design" and verdict.trace[-1].matched


def test_endings() -> None:
    assert {"format", "formats", "formatted", "formatting"} <= forms("format")
    assert {"rename", "renamed", "renaming"} <= forms("rename")
    assert {"vulnerability", "vulnerabilities"} <= forms("vulnerability")
    assert {"fix", "fixes", "fixed"} <= forms("fix") and "fixxed" not in forms("fix")
    assert forms("auth!") == {"auth"}


def own(*rules: dict[str, Any], **settings: Any) -> Settings:
    return Settings(routing=RoutingSettings(rules=rules), source="harness.yaml", **settings)


def test_a_rule_of_the_users_comes_first_and_one_of_the_same_name_replaces() -> None:
    rules = load_rules(
        own(
            {"name": "docs", "tier": "haiku", "when": "label:docs"},
            {"name": "review", "tier": "sonnet", "words": ["review"]},
            {"name": "audit", "enabled": False},
        )
    )
    docs = rules.ask(Issue(id="x", title="Security audit", labels=("docs",)))
    assert docs.rule is not None and (docs.rule.name, docs.tier, docs.why) == ("docs", "haiku", "label:docs yes")
    assert rules.ask(Issue(id="x", title="Review it")).tier == "sonnet"
    assert rules.ask(Issue(id="x", title="Audit it")).rule is None
    assert [rule.name for rule in rules.rules][:2] == ["docs", "rename"]


def test_words_and_trigger_must_both_hold() -> None:
    rules = load_rules(own({"name": "db", "tier": "opus", "words": ["migration"], "when": "NOT type:docs"}))
    assert rules.ask(Issue(id="x", title="Write the migration")).tier == "opus"
    assert rules.ask(Issue(id="x", title="Write the migration", type="docs")).rule is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"name": "a", "tier": "haku", "words": ["x"]}, "routing > rules > 0 > tier: no tier 'haku'; known: haiku"),
        ({"name": "a", "tier": "haiku", "word": ["x"]}, "routing > rules > 0 > word: unknown key 'word'"),
        ({"name": "a", "tier": "haiku"}, "routing > rules > 0: rule 'a' needs words or when"),
        ({"name": "a", "words": ["x"]}, "routing > rules > 0: rule 'a' has no tier"),
        ({"name": "a", "tier": "haiku", "words": ["... x"]}, "routing > rules > 0 > words > 0: '... x' has to begin"),
        ({"name": "a", "tier": "haiku", "when": "label=x"}, "routing > rules > 0 > when, column 6: expected ':'"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_refused_with_its_place(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rules(own(rule))
    assert caught.value.message.startswith(f"harness.yaml: {problem}")


def test_a_rules_file_stands_in_place_of_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [{name: all, tier: opus, words: [login]}]\n")
    settings = Settings(root=tmp_path, routing=RoutingSettings(rules_file=Path("rules.yaml")))
    rules = load_rules(settings)
    assert rules.ask(Issue(id="x", title="Login fails")).tier == "opus"
    assert rules.ask(Issue(id="x", title="Fix typo")).rule is None
    (tmp_path / "rules.yaml").write_text("rules: [{name: a, tier: b, words: [x]}]\n")
    with pytest.raises(ConfigError, match=r"rules\.yaml: rules > 0 > tier: no tier 'b'"):
        load_rules(settings)


def test_tiers_of_other_names_take_the_same_places() -> None:
    tiers = {"small": ("a/b",), "middle": ("a/c",), "large": ("a/d",)}
    settings = Settings(tiers=tiers, routing=RoutingSettings(default_tier="middle"))
    rules = load_rules(settings)
    assert [rules.ask(Issue(id="x", title=title)).tier for title in ("Fix typo", "Design it", "Security")] == list(
        tiers
    )


def test_nothing_in_a_real_queue_is_too_much() -> None:
    if not QUEUE.exists():
        pytest.skip("../shared/data/beads-queue.jsonl is not here")
    titles = [json.loads(line)["title"] for line in QUEUE.read_text().splitlines()[:500]]
    found = [RULES.ask(Issue(id="x", title=title)) for title in titles]
    assert all(verdict.rule is None or verdict.tier in ("haiku", "sonnet", "opus") for verdict in found)
    assert any(verdict.rule for verdict in found)


@example("`", "`()`")
@given(st.text(max_size=400), st.text(max_size=400))
def test_any_text_can_be_read(title: str, body: str) -> None:
    verdict = RULES.ask(Issue(id="x", title=title, body=body))
    assert (verdict.rule is None) == (verdict.tier == "")
    assert all(word.text for word in Reading.of(title).words)


def test_the_built_in_rules_are_the_same_in_both_their_forms() -> None:
    assert READY.read_text(encoding="utf-8") == built_in_rules.ready(), "python -m tests.tools.built_in_rules"


@pytest.mark.parametrize(
    "title",
    [
        "Rename dialog crashes when the name is empty",
        "Rename doesn't update references",
        "Formatting library fails on empty input",
        "Generate report times out",
        "Scaffold command ignores --dir",
        "CRUD endpoints return 500",
        "Add button does nothing",
        "Bump mapping looks wrong",
        "Typo tolerance in search",
    ],
)
def test_a_report_of_a_fault_is_no_order(title: str) -> None:
    """Where a title begins with what is broken, nobody asked for that to be done."""
    assert ask(title) == (None, "")


def test_rules_of_the_users_know_reports_too() -> None:
    own = {"name": "archive", "tier": "haiku", "at": "start", "words": ["archive"], "order": True}
    rules = load_rules(Settings(routing=RoutingSettings(rules=(own,))))
    assert rules.ask(Issue(id="x", title="Archive old posts")).tier == "haiku"
    assert rules.ask(Issue(id="x", title="Archive page crashes")).rule is None


def test_a_bad_phrase_of_reports_is_named(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("reports: [crashes!, '...']\n")
    with pytest.raises(ConfigError, match=r"reports > 1: .* has to begin and end with a word"):
        load_rules(Settings(root=tmp_path, routing=RoutingSettings(rules_file=Path("rules.yaml"))))
