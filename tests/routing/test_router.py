"""The whole decision: order of strategies, pipelines, costs, warnings, and what the past may correct."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import OwnPrice, RoutePreference, RoutingSettings, Settings
from harness.errors import ConfigError, UnknownName
from harness.registry import pipeline
from harness.routing.estimate import Sizes
from harness.routing.router import Router, build_router
from harness.routing.rules import load_rules
from harness.routing.strategies import FileCountStrategy, files_of, in_folder, paths_in
from harness.types import Considered, Issue, Opinion, RouteDecision, TraceLine, Usage

TRACKED = frozenset(
    ("README.md", "src/app.py", "src/auth/login.py", "src/a.py", "src/b.py", "src/routes/(app)/+page.svelte")
)


def router(**routing: Any) -> Router:
    return build_router(Settings(root=Path("/nowhere"), routing=RoutingSettings(**routing)), TRACKED)


def route(title: str = "Do it", **issue: Any) -> RouteDecision:
    return router().route(Issue(id="x", title=title, **issue))


def told(decision: RouteDecision) -> tuple[str, str, str]:
    return decision.strategy, decision.tier, decision.pipeline


@pytest.mark.parametrize(
    ("issue", "expected"),
    [
        ({"labels": ("model:haiku",), "title": "Security audit"}, ("label", "haiku", "single")),
        ({"labels": ("model:opus",), "title": "Fix typo"}, ("label", "opus", "plan-execute-review")),
        ({"labels": ("Model:Haiku",)}, ("label", "haiku", "single")),
        ({"labels": ("model:claude-haiku-5-5",)}, ("label", "haiku", "single")),
        ({"metadata": {"execution_suggested_model": "haiku"}}, ("label", "haiku", "single")),
        ({"metadata": {"execution_suggested_model": "claude-opus-4-1"}}, ("label", "opus", "plan-execute-review")),
        ({"labels": ("complexity:trivial",)}, ("complexity", "haiku", "single")),
        ({"labels": ("complexity:simple",)}, ("complexity", "haiku", "single")),
        ({"labels": ("complexity:standard",)}, ("complexity", "sonnet", "plan-execute-review")),
        ({"labels": ("complexity:complex",)}, ("complexity", "opus", "plan-execute-review")),
        ({"labels": ("complexity:simple",), "title": "Security audit"}, ("complexity", "haiku", "single")),
        ({"title": "Fix typo"}, ("pattern", "haiku", "single")),
        ({"title": "Rename it", "files": ("a.py", "b.py")}, ("pattern", "haiku", "plan-execute-review")),
        ({"files": ("a.py",)}, ("files", "haiku", "single")),
        ({"files": ("a.py", "b.py", "c.py")}, ("files", "sonnet", "plan-execute-review")),
        ({"files": ("a.py", "b.py", "c.py", "d.py")}, ("files", "sonnet", "plan-execute-review")),
        ({"body": "Look at `src/app.py:12` only."}, ("files", "haiku", "single")),
        ({"body": "Look at src/app.py and src/missing.py."}, ("files", "haiku", "single")),
        ({"metadata": {"file_count": 7}}, ("files", "sonnet", "plan-execute-review")),
        ({}, ("default", "sonnet", "plan-execute-review")),
        ({"type": "epic", "labels": ("model:haiku",)}, ("label", "haiku", "plan-execute-review")),
        ({"labels": ("pipeline:single", "complexity:complex")}, ("complexity", "opus", "single")),
    ],
)  # fmt: skip
def test_the_first_that_fires_decides(issue: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert told(route(**issue)) == expected


def test_a_label_wins_over_the_metadata() -> None:
    decision = route(labels=("model:haiku",), metadata={"execution_suggested_model": "opus"})
    assert (decision.tier, decision.rule) == ("haiku", "model label")


def test_of_two_labels_the_strongest_wins_with_a_warning() -> None:
    decision = route(labels=("model:haiku", "model:opus"))
    assert decision.tier == "opus"
    assert decision.warnings == ("labels ask for haiku and opus; the strongest wins",)


def test_unknown_labels_warn_and_fall_through() -> None:
    decision = route("Fix typo", labels=("model:gpt", "complexity:simpel"))
    assert decision.strategy == "pattern"
    assert decision.warnings[0] == "label 'model:gpt' names no tier; known: haiku, sonnet, opus"
    assert decision.warnings[1].endswith("known: trivial, simple, standard, complex — did you mean 'simple'?")


def test_priority_zero_is_not_taken_for_none() -> None:
    assert route("Design it", priority=0).tier == "opus"


def test_costs_are_dollars_against_the_baseline() -> None:
    decision = route("Fix typo")
    assert decision.estimated_cost is not None and decision.baseline_cost is not None
    assert Decimal("0.0005") < decision.estimated_cost < Decimal("0.005")
    assert Decimal("0.02") < decision.baseline_cost < Decimal("0.04")
    assert (decision.model, decision.candidates) == ("anthropic/claude-haiku-5-5", ("anthropic/claude-haiku-5-5",))


def test_an_unknown_price_makes_the_cost_unknown_and_says_so() -> None:
    tiers = {
        "haiku": ("ollama/llama3",),
        "sonnet": ("anthropic/claude-sonnet-5-5",),
        "opus": ("anthropic/claude-opus-5-5",),
    }
    decision = build_router(Settings(tiers=tiers), TRACKED).route(Issue(id="x", title="Fix typo"))
    assert decision.estimated_cost is None and decision.baseline_cost is not None
    assert "the price of ollama/llama3 is unknown" in decision.warnings[0]
    own = Settings(tiers=tiers, prices={"ollama/llama3": OwnPrice(input=Decimal(0), output=Decimal(0))})
    assert build_router(own, TRACKED).route(Issue(id="x", title="Fix typo")).estimated_cost == 0


def test_a_review_that_is_sure_to_come_is_in_the_estimate() -> None:
    plain, risky = route(labels=("model:sonnet",)), route(labels=("model:sonnet", "security"))
    assert plain.estimated_cost is not None and risky.estimated_cost is not None
    assert risky.estimated_cost > plain.estimated_cost
    assert risky.baseline_cost == plain.baseline_cost


def test_enough_observed_tasks_replace_the_priors() -> None:
    used = Usage(requests=40, input_tokens=400, output_tokens=200)
    assert Sizes().learned(9, used) == Sizes()
    sizes = Sizes().learned(10, used)
    assert (sizes.task, sizes.observed) == (Usage(requests=4, input_tokens=40, output_tokens=20), 10)


class FakePast:
    """Says one tier whenever it is asked, and remembers with what."""

    def __init__(self, tier: str | None) -> None:
        self.tier, self.starts = tier, list[Opinion | None]()

    def consider(self, issue: Issue, start: Opinion | None = None) -> Considered:
        self.starts.append(start)
        line = TraceLine(rule="learned", matched=self.tier is not None, why="of 40 outcomes")
        opinion = None if self.tier is None else Opinion(tier=self.tier, rule="learned/x", reason="of 40 outcomes")
        return Considered(opinion, (line,))


def with_past(past: FakePast) -> Router:
    made = router()
    return Router(made.settings, made.strategies, past, made.later, made.count)


def test_the_past_corrects_a_guess_but_no_order() -> None:
    past = FakePast("sonnet")
    asked = with_past(past)
    assert told(asked.route(Issue(id="x", title="Fix typo"))) == ("learned", "sonnet", "plan-execute-review")
    assert past.starts[-1] is not None and past.starts[-1].rule == "typo"
    assert asked.route(Issue(id="x", title="Do it")).strategy == "learned"
    assert past.starts[-1] is None
    assert asked.route(Issue(id="x", title="Do it", labels=("model:haiku",))).tier == "haiku"
    assert len(past.starts) == 2


def test_a_silent_past_changes_nothing_but_the_trace() -> None:
    decision = with_past(FakePast(None)).route(Issue(id="x", title="Fix typo"))
    assert decision.strategy == "pattern"
    assert any(line.rule == "learned" for line in decision.trace)


@pytest.mark.parametrize(
    ("title", "rule", "tier"),
    [
        ("The importer dies with a KeyError when a row has no price", "bug", "sonnet"),
        ("Two workers sometimes claim the same job at once", "concurrency", "opus"),
    ],
)
def test_preference_has_routes_of_its_own(title: str, rule: str, tier: str) -> None:
    pytest.importorskip("onnxruntime")
    decision = router(strategies=("preference",)).route(Issue(id="x", title=title))
    assert (decision.strategy, decision.rule, decision.tier) == ("preference", rule, tier)
    assert router().route(Issue(id="x", title=title)).strategy == "default"


def test_preference_in_the_list_is_asked_once_and_with_the_users_routes() -> None:
    routes = (RoutePreference(name="database", description="slow SQL queries and database indexes", tier="opus"),)
    decision = router(preferences=routes, strategies=("preference",)).route(Issue(id="x", title="Dark mode"))
    assert len([line for line in decision.trace if line.rule.startswith("preference")]) == 1


def test_described_routes_are_asked_before_the_default() -> None:
    routes = (
        RoutePreference(name="database", description="slow SQL queries and database indexes", tier="opus"),
        RoutePreference(
            name="styling", description="CSS colours and page layout", models=("anthropic/claude-haiku-5-5",)
        ),
    )
    asked = router(preferences=routes, preference_threshold=0.2)
    decision = asked.route(Issue(id="x", title="The SQL queries are slow, indexes of the database are missing"))
    assert (decision.strategy, decision.rule, decision.tier) == ("preference", "database", "opus")
    assert asked.route(Issue(id="x", title="Fix typo in the CSS colours")).strategy == "pattern"


class Mine:
    """A strategy of a user's own."""

    name = "mine"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def consider(self, issue: Issue) -> Considered:
        return Considered(Opinion(tier="haiku", rule="mine", reason="because"))


def test_a_strategy_of_ones_own_is_named_in_the_settings() -> None:
    decision = router(strategies=("tests.routing.test_router:Mine",)).route(Issue(id="x", title="Do it"))
    assert (decision.strategy, decision.tier) == ("mine", "haiku")
    for target, problem in (("mine", "or package.module:Name"), ("no_such:X", "cannot import"), ("json:X", "X")):
        with pytest.raises(ConfigError, match=problem):
            router(strategies=(target,))


def test_a_default_tier_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"routing > default_tier: no tier 'sonet'.*did you mean 'sonnet'"):
        router(default_tier="sonet")


def test_a_text_is_routed_like_an_issue() -> None:
    assert router().route_text("Fix typo\nin the README").rule == "typo"


def test_paths_in_a_text() -> None:
    text = "See `src/app.py:12`, (README.md). ../../etc/passwd /etc/hosts ~/x .git/config src/routes/(app)/+page.svelte"
    issue = Issue(id="x", title="t", body=text, files=("./src/app.py",))
    assert files_of(issue, TRACKED.__contains__) == ("README.md", "src/app.py", "src/routes/(app)/+page.svelte")
    assert not {"etc/passwd", "../../etc/passwd", "/etc/hosts", ".git/config"} & set(paths_in(text))


def test_the_file_system_is_asked_only_inside_the_repository(tmp_path: Path) -> None:
    (tmp_path / "a b.py").touch()
    exists = in_folder(tmp_path)
    assert exists("a b.py") and not exists("b.py") and not exists("x" * 5000) and not exists("a\0b")


def test_a_hostile_body_is_read_in_time() -> None:
    for text in ("-" * 200_000, "a/" * 100_000, "(" * 200_000, "`" * 200_000, "add " * 50_000, "```" * 50_000):
        assert route(body=text).tier
        assert route(text).tier


def test_a_pipeline_that_there_is_none_of_is_told_before_a_run_refuses_it(tmp_path: Path) -> None:
    asked = build_router(Settings(root=tmp_path), TRACKED)
    decision = asked.route(Issue(id="x", title="Fix typo", labels=("pipeline:singel",)))
    with pytest.raises(UnknownName) as refused:
        pipeline("singel", Settings(root=tmp_path))
    assert decision.pipeline == "singel"
    (warning,) = decision.warnings
    assert warning.startswith(f"label pipeline:singel: {refused.value.message}") and str(refused.value.hint) in warning
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "singel.yaml").write_text("phases: {1_execution: {}}")
    assert asked.route(Issue(id="x", title="Fix typo", labels=("pipeline:singel",))).warnings == ()


def test_a_path_is_looked_for_once_a_decision() -> None:
    looked: list[str] = []

    def exists(path: str) -> bool:
        looked.append(path)
        return True

    files = FileCountStrategy(load_rules(Settings()), exists)
    strategies = (files,)
    decided = Router(Settings(), strategies, count=files.count).route(Issue(id="x", title="Do it", body="see src/a.py"))
    assert (decided.strategy, looked) == ("files", ["src/a.py"])
    files.count(Issue(id="x", title="Do it", body="see src/a.py"))
    assert looked == ["src/a.py"] * 2, "another issue, even of the same words, is looked up anew"
