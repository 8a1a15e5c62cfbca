"""Which model a request goes to, and why: the order of the steps, nine documented sentences, sessions, logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from harness.config.router_toml import router_section
from harness.gateway.exchange import Record
from harness.gateway.tracing import Tracing
from harness.types import Usage
from tests.gateway.running import RunningGateway, upstream
from tests.wire.server import WireServer

TOML = {"think": "openrouter,anthropic/claude-3-opus", "plan_implementation": "openrouter,anthropic/claude-3.5-haiku"}
SENTENCES = {
    "plan implementation of the authentication system": "plan_implementation",
    "plan to build the user dashboard": "plan_implementation",
    "plan code structure for the API": "plan_implementation",
    "plan and develop the frontend components": "plan_implementation",
    "create a plan to implement caching": "plan_implementation",
    "plan the system architecture": "think",
    "design a plan for the product": "think",
    "create a strategic plan": "think",
    "plan the approach": "think",
}
ROUTES = [
    {
        "name": "code",
        "description": "writing code",
        "examples": ["Write a function"],
        "models": ["openai/gpt-4o", "anthropic/b"],
    },
    {"name": "poems", "description": "poems and songs", "examples": ["Write a poem"], "models": ["anthropic/b"]},
]


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    with WireServer(lambda request: {"text": "ok"}) as server:
        yield server


@pytest.fixture(scope="module")
def documented(wire: WireServer) -> Iterator[RunningGateway]:
    rows = [{"model": "openrouter/*", "base_url": wire.url, "api_key": "k"}]
    with RunningGateway({**router_section({"router": TOML}, "config.toml"), "models": rows}) as running:
        yield running


def ask(
    running: RunningGateway, text: str, model: str = "claude-3-opus", headers: Any = None, **body: Any
) -> httpx2.Response:
    question = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": text}], **body}
    return httpx2.post(running.url + "/v1/messages", json=question, headers=headers or {})


@pytest.mark.parametrize("text,scenario", SENTENCES.items())
def test_the_nine_sentences(documented: RunningGateway, text: str, scenario: str) -> None:
    reply = ask(documented, text)
    assert reply.status_code == 200
    assert reply.headers["x-harness-route"] == scenario
    assert reply.headers["x-harness-model"] == TOML[scenario].replace(",", "/", 1)


def test_the_log_says_so(documented: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "harness.gateway"):
        ask(documented, "plan to build the user dashboard")
    assert [record.getMessage() for record in caplog.records if record.name == "harness.gateway"] == [
        "Plan implementation detected - routing to smaller model",
        "Provider: openrouter, Model: anthropic/claude-3.5-haiku",
        "Scenario: plan_implementation",
    ]


@pytest.fixture(scope="module")
def full(wire: WireServer) -> Iterator[RunningGateway]:
    section = {
        "models": [*upstream(wire.url)],
        "aliases": {"fast": "faster", "faster": "openai/gpt-4o-mini"},
        "scenarios": {"chains": {"think": ["anthropic/thinker"], "background": ["anthropic/small"]}},
        "routes": ROUTES,
        "session": {"ttl_seconds": 60},
    }
    with RunningGateway(section) as running:
        yield running


@pytest.mark.parametrize(
    "model,text,extra,served,told",
    [
        ("openai/gpt-9", "plan the approach", {}, "openai/gpt-9", "by name"),
        ("fast", "plan the approach", {}, "openai/gpt-4o-mini", "alias"),
        ("claude-3-opus", "plan the approach", {}, "anthropic/thinker", "without anything to build"),
        (
            "claude-3-opus",
            "hello",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "anthropic/thinker",
            "thinking",
        ),
        ("claude-3-opus", "Write a function", {}, "openai/gpt-4o", "code"),
        ("gpt-4o", "zzz qqq", {}, "openai/gpt-4o", "was asked for"),
        (
            "openai/gpt-9",
            "Write a poem",
            {"routing_preferences": [{**ROUTES[1], "models": ["openai/x"]}]},
            "openai/x",
            "poems",
        ),
        (
            "gpt-4o",
            "Write a poem",
            {
                "routing_policy": [
                    {
                        "model": "openai/y",
                        "routing_preferences": [
                            {"name": "p", "description": "poems and songs", "examples": ["Write a poem"]}
                        ],
                    }
                ]
            },
            "openai/y",
            "p with",
        ),
    ],
)
def test_the_order(full: RunningGateway, model: str, text: str, extra: Any, served: str, told: str) -> None:
    reply = ask(full, text, model, **extra)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-harness-model"] == served
    assert told in reply.headers["x-harness-reason"]


def test_what_is_ours_does_not_go_to_the_provider(full: RunningGateway, wire: WireServer) -> None:
    ask(full, "Write a poem", "openai/x", routing_preferences=[ROUTES[1]], headers={"x-model-affinity": "a"})
    assert "routing_preferences" not in wire.calls[-1].body
    assert "x-model-affinity" not in wire.calls[-1].headers


def test_a_session_keeps_its_model(full: RunningGateway) -> None:
    pin = {"x-model-affinity": "s-1"}
    first = ask(full, "Write a function", headers=pin)
    again = ask(full, "Write a poem", headers=pin)
    other = ask(full, "Write a poem", headers={"x-model-affinity": "s-2"})
    assert first.headers["x-harness-model"] == again.headers["x-harness-model"] == "openai/gpt-4o"
    assert "s-1 is pinned" in again.headers["x-harness-reason"]
    assert other.headers["x-harness-model"] == "anthropic/b"


def test_a_clients_own_session_keeps_routes_but_not_scenarios(full: RunningGateway) -> None:
    pin = {"x-claude-code-session-id": "c-1"}
    assert ask(full, "Write a function", headers=pin).headers["x-harness-route"] == "code"
    assert "pinned" in ask(full, "Write a poem", headers=pin).headers["x-harness-reason"]
    assert (
        ask(full, "Write a poem", "claude-sonnet-4-5", headers=pin).headers["x-harness-route"] == "poems"
    )  # another lane
    new = {"x-claude-code-session-id": "c-2"}
    assert ask(full, "plan the approach", headers=new).headers["x-harness-route"] == "think"
    assert ask(full, "Write a poem", headers=new).headers["x-harness-route"] == "poems"


def test_a_clients_errands_go_to_the_background(full: RunningGateway) -> None:
    def route(kind: str, model: str = "claude-3-opus") -> str:
        return ask(full, "plan the approach", model, {"x-claude-code-request-class": kind}).headers["x-harness-route"]

    assert [route(kind) for kind in ("auxiliary", "side_reply", "main")] == ["background", "background", "think"]
    assert ask(full, "hello", "claude-haiku-4-5").headers["x-harness-route"] == "background"


def test_requested_models_can_be_overridden(wire: WireServer) -> None:
    chains = {"chains": {"think": ["anthropic/thinker"]}, "override_requested_model": True}
    with RunningGateway({"models": upstream(wire.url), "scenarios": chains}) as running:
        assert ask(running, "plan the approach", "openai/gpt-9").headers["x-harness-model"] == "anthropic/thinker"
        assert ask(running, "hello", "openai/gpt-9").headers["x-harness-model"] == "openai/gpt-9"


def test_counting_asks_the_provider_that_counts(full: RunningGateway) -> None:
    body = {"model": "anthropic/m", "messages": [{"role": "user", "content": "hello " * 50}]}
    reply = httpx2.post(full.url + "/v1/messages/count_tokens", json=body)
    assert reply.json()["input_tokens"] > 0 and "x-harness-estimate" not in reply.headers
    reply = httpx2.post(full.url + "/v1/messages/count_tokens", json={**body, "model": "openai/m"})
    assert reply.headers["x-harness-estimate"] == "true"


def test_a_router_model_that_is_down_leaves_it_to_the_embedded_one(wire: WireServer) -> None:
    router = {"model": "Arch-Router", "base_url": "http://127.0.0.1:9/v1", "timeout_seconds": 2}
    with RunningGateway({"models": upstream(wire.url), "routes": ROUTES, "router_model": router}) as running:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Write a function"}]}
        decision = httpx2.post(running.url + "/routing/v1/chat/completions", json=body, timeout=15).json()
        assert decision["route"] == "code" and "Arch-Router cannot be reached" in decision["warnings"][0]


@pytest.mark.parametrize(
    "content,route", [('{"route": "poems"}', "poems"), ('{"route": ["code"]}', "code"), ('{"route": "other"}', None)]
)
def test_a_router_model_decides(content: str, route: str | None) -> None:
    with WireServer(lambda request: {"text": content}) as wire:
        router = {"model": "Arch-Router", "base_url": wire.url + "/v1", "prompt": "arch_router"}
        with RunningGateway({"models": upstream(wire.url), "routes": ROUTES, "router_model": router}) as running:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Something else"}]}
            decision = httpx2.post(running.url + "/routing/v1/chat/completions", json=body, timeout=15).json()
            assert decision["route"] == route and "Arch-Router" in decision["reason"]
            assert (decision["model"] == "none") == (route is None)


def test_a_router_model_may_be_asked_about_the_rest_alone() -> None:
    with WireServer(lambda request: {"text": '{"route": "poems"}'}) as wire:
        router = {"model": "Arch-Router", "base_url": wire.url + "/v1", "prompt": "arch_router", "ask": "unsure"}
        with RunningGateway({"models": upstream(wire.url), "routes": ROUTES, "router_model": router}) as running:
            for text, route, by in (("Write a function", "code", "embedded"), ("Hello", "poems", "Arch-Router")):
                body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
                decision = httpx2.post(running.url + "/routing/v1/chat/completions", json=body, timeout=15).json()
                assert decision["route"] == route and by in decision["reason"]


def test_a_session_store_that_is_down_is_said_and_nothing_stops(wire: WireServer) -> None:
    pytest.importorskip("redis")
    section = {"models": upstream(wire.url), "routes": ROUTES, "session": {"url": "redis://:a-password@127.0.0.1:9"}}
    with RunningGateway(section) as running:
        assert ask(running, "Write a function", headers={"x-model-affinity": "s"}).status_code == 200
        ready = httpx2.get(running.url + "/readyz").json()
        assert ready["status"] == "degraded" and "Redis does not answer" in ready["problems"][0]
        assert "a-password" not in str(ready)


def test_a_warm_session_stays_when_leaving_costs_more_than_its_budget() -> None:
    with WireServer(lambda request: {"text": "ok", "usage": {"input": 90_000, "output": 10}}) as wire:
        routes = [
            {**ROUTES[0], "models": ["openai/gpt-4o-mini"]},
            {**ROUTES[1], "models": ["anthropic/claude-opus-4-5"]},
        ]
        models = [{"model": model, "base_url": wire.url, "api_key": "k"} for r in routes for model in r["models"]]
        for percent, served in ((0, "openai/gpt-4o-mini"), (None, "anthropic/claude-opus-4-5")):
            budget = {"max_switch_spend_pct": percent}
            source = [{"type": "cost", "provider": "embedded"}]
            priced = {"session": {"budget": budget}, "metrics_sources": source} if percent is not None else {}
            with RunningGateway({"models": models, "routes": routes, **priced}) as running:
                pin = {"x-model-affinity": f"s-{percent}"}
                assert ask(running, "Write a function", headers=pin).headers["x-harness-model"] == "openai/gpt-4o-mini"
                if percent is None:
                    pin = {}
                again = ask(running, "Write a poem", headers=pin)
                assert again.headers["x-harness-model"] == served
                assert percent is None or "over the routing budget" in again.headers["x-harness-reason"]


def test_spans_have_the_genai_attributes() -> None:
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    tracing = Tracing("http://127.0.0.1:1", to=exporter)
    record = Record(
        "claude-3-opus", "messages", model="openai/gpt-4o", route="code", usage=Usage(input_tokens=5, output_tokens=2)
    )
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    tracing(record, f"00-{trace}-00f067aa0ba902b7-01")
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == trace
    wanted = {"gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-4o", "gen_ai.usage.input_tokens": 5}
    assert wanted.items() <= dict(span.attributes).items()


ABSTRACT = [
    {
        "name": "one",
        "description": "complex reasoning tasks, multi-step analysis",
        "models": ["openai/a"],
    },
    {"name": "two", "description": "generating new code, writing functions", "models": ["openai/b"]},
]
REQUESTS = {
    "Write a Python function that implements binary search on a sorted array": "two",
    "Explain the trade-offs between microservices and monolithic architectures": "one",
    "Create a REST API endpoint in Rust using actix-web that handles user registration": "two",
    "Build a React component that renders a sortable data table": "two",
    "Write a REST API in Go using Gin": "two",
    "What is the capital of France?": None,
    "Hello": None,
}


def test_two_abstract_routes_under_any_name_are_found(wire: WireServer) -> None:
    """By description alone, without the kinds of requests that it names, these are passed by or mistaken."""
    rows = [{"model": "openai/*", "base_url": wire.url, "api_key": "k"}]
    with RunningGateway({"models": rows, "routes": ABSTRACT}) as running:
        for text, route in REQUESTS.items():
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
            answer = httpx2.post(running.url + "/routing/v1/chat/completions", json=body)
            assert answer.json()["route"] == route, text
