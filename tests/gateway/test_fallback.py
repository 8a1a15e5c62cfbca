"""A pool is walked on 429, 5xx and no connection; never after bytes, for a caller's mistake, or in a loop."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.gateway.running import RunningGateway
from tests.wire.server import WireServer

QUESTION = {"model": "claude-3-opus", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound, never listening
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def gateway(*urls: str, **section: Any) -> RunningGateway:
    names = ("anthropic/first", "openai/second", "groq/third")[: len(urls)]
    rows = [
        {"model": name, "base_url": url, "api_key": "sk-secret-upstream-key"}
        for name, url in zip(names, urls, strict=True)
    ]
    return RunningGateway({"models": rows, "scenarios": {"chains": {"default": list(names)}}, **section})


def ask(running: RunningGateway, **changes: Any) -> httpx2.Response:
    return httpx2.post(running.url + "/v1/messages", json={**QUESTION, **changes}, timeout=10)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["unavailable", "rate_limited", "server", "stream_error"])
def test_the_next_model_answers(kind: str, stream: bool) -> None:
    if kind == "stream_error" and not stream:
        kind = "server"
    with WireServer(lambda request: {"error": {"kind": "unavailable" if kind == "stream_error" else kind}}) as bad:
        with WireServer(lambda request: {"text": "second"}) as good, gateway(bad.url, good.url) as running:
            reply = ask(running, stream=stream)
            assert reply.status_code == 200 and "second" in reply.text
            assert reply.headers["x-harness-model"] == "openai/second"
            assert len(bad.calls) == len(good.calls) == 1
            ask(running)  # the first rests now
            assert len(bad.calls) == 1 and len(good.calls) == 2
            ready = httpx2.get(running.url + "/readyz").json()
            assert ready["status"] == "degraded" and "anthropic/first" in ready["problems"][0]


def test_no_connection_is_no_answer(closed_port: int) -> None:
    with WireServer(lambda request: {"text": "second"}) as good:
        with gateway(f"http://127.0.0.1:{closed_port}", good.url) as running:
            assert "second" in ask(running).text


def test_a_callers_mistake_is_not_tried_elsewhere() -> None:
    with WireServer(lambda request: {"error": {"kind": "bad_request", "message": "max_tokens: too big"}}) as first:
        with WireServer(lambda request: {"text": "second"}) as second, gateway(first.url, second.url) as running:
            reply = ask(running)
            assert reply.status_code == 400 and "max_tokens: too big" in reply.text
            assert not second.calls


def test_when_all_fail_the_last_ones_error_comes_in_the_callers_format() -> None:
    with WireServer(lambda request: {"error": {"kind": "rate_limited", "message": "slow down"}}) as bad:
        with gateway(bad.url, bad.url, bad.url) as running:
            reply = ask(running)
            assert reply.status_code == 429
            assert reply.json()["type"] == "error" and reply.json()["error"]["type"] == "rate_limit_error"
            assert len(bad.calls) == 3  # each once
            assert "sk-secret" not in reply.text


def test_nobody_there_at_all(closed_port: int) -> None:
    with gateway(f"http://127.0.0.1:{closed_port}") as running:
        reply = ask(running)
        assert reply.status_code == 502 and reply.json()["error"]["type"] == "api_error"
        assert "Connection refused" in reply.json()["error"]["message"] or "Connect call failed" in reply.text


def test_a_gateway_that_leads_back_to_itself_stops() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with WireServer(lambda request: {"text": "never"}, port=port) as other, gateway(other.url) as running:
        target = running.settings.targets["anthropic/first"]
        target.urls["messages"] = f"{running.url}/v1/messages"
        reply = ask(running, model="anthropic/first")
        assert reply.status_code == 508 and "leads back" in reply.text


def test_a_missing_key_names_its_variable() -> None:
    rows = [{"model": "openai/gpt-4o", "missing_key": "OPENAI_API_KEY"}]
    with RunningGateway({"models": rows}) as running:
        reply = httpx2.post(running.url + "/v1/chat/completions", json={**QUESTION, "model": "openai/gpt-4o"})
        assert reply.status_code == 401 and "OPENAI_API_KEY is not set" in reply.json()["error"]["message"]
