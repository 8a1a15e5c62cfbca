"""Scenarios of chat requests: the published examples, their order, and words that only look alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.routing.scenarios import SCENARIOS, ChatFacts, classify, is_web_search, prose

ALL = frozenset(SCENARIOS)


def scenario(text: str = "", configured: frozenset[str] = ALL, **facts: object) -> str:
    return classify(ChatFacts(text=text, **facts), configured)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query",
    [
        "plan implementation of the authentication system",
        "plan to build the user dashboard",
        "plan code structure for the API",
        "plan and develop the frontend components",
        "create a plan to implement caching",
        "plan implementation of login",
        "implement the plan",
        "write tests per plan",
        "create a plan view component",
        "create a strategic plan. Then build it.",
        "Planning: we will write a parser",
        "PLAN TO BUILD IT",
    ],
)
def test_planning_in_order_to_build(query: str) -> None:
    assert scenario(query) == "plan_implementation"


@pytest.mark.parametrize(
    "query",
    [
        "plan the system architecture",
        "design a plan for the product",
        "create a strategic plan",
        "plan the approach",
        "plan the architecture",
        "Write me a detailed migration plan for Postgres.",
        "Could you create us a detailed quarterly product plan?",
        "a plan should be written",
        "build the plan",
        "think hard about the cache",
        "Think it through, please",
        "ultrathink",
        "reason about the race",
        "explain it step by step",
        "walk me through step-by-step",
    ],
)
def test_planning_and_thinking_as_such(query: str) -> None:
    assert scenario(query) == "think"


@pytest.mark.parametrize(
    "query",
    [
        "write an explanation of the build",
        "create a planet generator",
        "implement airplane mode",
        "for some reason the build fails",
        "the reason for this error is unknown",
        "what do you think?",
        "a hard thing to write code for",
        "build the dashboard",
        "",
    ],
)
def test_words_that_only_look_alike(query: str) -> None:
    assert scenario(query) == "default"


def test_the_order_of_scenarios() -> None:
    facts = ChatFacts(
        text="plan to build it", image=True, web_search=True, tokens=60_000, thinking=True, model="claude-haiku-5-5"
    )
    left = set(SCENARIOS)
    for expected in SCENARIOS:
        assert classify(facts, left)[0] == expected
        left.discard(expected)


def test_long_context_begins_at_the_threshold() -> None:
    assert scenario(tokens=59_999) == "default"
    assert scenario(tokens=60_000) == "long_context"
    assert classify(ChatFacts(tokens=100), ALL, long_context_threshold=100)[0] == "long_context"


def test_background_wants_a_haiku_class_model() -> None:
    assert scenario(model="claude-3-5-haiku-20241022") == "background"
    assert scenario(model="claude-3-opus") == "default"


def test_unconfigured_plan_implementation_falls_to_think_then_default() -> None:
    assert scenario("plan to build it", ALL - {"plan_implementation"}) == "think"
    assert scenario("plan to build it", ALL - {"plan_implementation", "think"}) == "default"


def test_reminders_and_pasted_code_do_not_count() -> None:
    assert scenario("<system-reminder>plan to build</system-reminder>hello") == "default"
    assert scenario("fix this\n```\nplan(); build()\n```") == "default"
    assert scenario("fix this " + "x " * 5000 + "plan to build " + "y " * 5000) == "default"
    assert scenario("plan to build this:\n" + "x " * 5000) == "plan_implementation"
    assert prose("```never closed plan to build") == " "


def test_the_reason_names_the_words() -> None:
    assert classify(ChatFacts("plan and develop it"), ALL)[1] == "'plan' and 'develop': planning in order to build"


def test_web_search_tools_of_several_providers() -> None:
    assert all(map(is_web_search, ("web_search_20250305", "web_search", "WebSearch", "web_search_preview")))
    assert not is_web_search("search_code")


@given(st.text(), st.sets(st.sampled_from(SCENARIOS)), st.booleans(), st.integers(0, 10**7))
def test_any_text_gets_a_configured_scenario(text: str, configured: set[str], thinking: bool, tokens: int) -> None:
    name, reason = classify(ChatFacts(text, thinking=thinking, tokens=tokens), configured)
    assert name in configured | {"default"} and reason
