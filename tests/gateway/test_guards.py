"""Limits, tokens, filters and bad input: a clear error in the caller's own format, and the server stays up."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from harness.config.gateway_section import RateLimit
from harness.errors import ConfigError
from harness.gateway.limits import RateLimiter
from harness.gateway.server import check_exposure
from tests.gateway.running import RunningGateway, settings_for, upstream
from tests.wire.server import WireServer

PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses")
GOOD: dict[str, Any] = {"model": "openai/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    with WireServer(lambda request: {"text": "Write to jane@example.com about it."}) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(wire: WireServer) -> Iterator[RunningGateway]:
    section = {"models": upstream(wire.url), "limits": {"body_mb": 1, "header_kb": 16, "concurrent": 4}}
    with RunningGateway(section) as running:
        yield running


@pytest.mark.parametrize("path", [*PATHS, *(f"/routing{path}" for path in PATHS)])
@pytest.mark.parametrize(
    "body,status,told",
    [
        (b"", 400, "empty"),
        (b"{", 400, "not valid JSON"),
        (b"[1]", 400, "must be a JSON object"),
        (b"null", 400, "not null"),
        (b'{"model": "openai/m", "messages": "\xff"}', 400, "not valid JSON"),
        (b'{"model": 3}', 400, "model: expected a string"),
        (b"{" + b'"a":[' * 2000, 400, "not valid JSON"),
        (b'{"x": "' + b"y" * 1_100_000 + b'"}', 413, "1 MB"),
    ],
)
def test_bad_bodies(gateway: RunningGateway, path: str, body: bytes, status: int, told: str) -> None:
    reply = httpx2.post(gateway.url + path, content=body)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert told in error["message"]
    assert (reply.json().get("type") == "error") == path.endswith("/v1/messages")
    assert httpx2.get(gateway.url + "/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "body,field",
    [
        ({"messages": 3}, "messages"),
        ({"messages": [3]}, "messages.0"),
        ({}, "messages"),
        ({"messages": [], "routing_preferences": 3}, "routing_preferences"),
        ({"messages": [], "routing_preferences": [{"name": "a", "description": "b"}]}, "routing_preferences.0.models"),
        (
            {
                "messages": [],
                "routing_preferences": [
                    {"name": "a", "description": "b", "models": ["c/d"], "selection_policy": {"prefer": "best"}}
                ],
            },
            "prefer",
        ),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, body: dict[str, Any], field: str) -> None:
    reply = httpx2.post(gateway.url + "/routing/v1/chat/completions", json=body)
    if reply.status_code == 200:  # nothing was looked at: no routes are configured
        pytest.skip("not looked at")
    assert reply.status_code == 400 and field in reply.json()["error"]["message"]


def test_unknown_models_are_refused_by_name(gateway: RunningGateway) -> None:
    reply = httpx2.post(gateway.url + "/v1/chat/completions", json={**GOOD, "model": "nobody/has-this"})
    assert reply.status_code == 400 and "nobody/has-this" in reply.json()["error"]["message"]
    reply = httpx2.post(gateway.url + "/v1/messages", json={**GOOD, "model": "nobody/has-this"})
    assert reply.status_code == 404 and reply.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "path,body",
    [(PATHS[0], {"messages": []}), (PATHS[1], {"messages": []}), (PATHS[2], {"input": ""}), (PATHS[2], {"input": []})],
)
def test_there_must_be_something_to_answer(gateway: RunningGateway, path: str, body: dict[str, Any]) -> None:
    reply = httpx2.post(gateway.url + path, json={"model": "openai/m", "max_tokens": 9, **body})
    assert reply.status_code == 400 and "nothing to answer" in reply.json()["error"]["message"]


def test_threads_are_refused_as_the_sdk_expects(gateway: RunningGateway) -> None:
    reply = httpx2.post(gateway.url + "/v1/messages", json={**GOOD, "thread": {"id": "t"}})
    assert reply.status_code == 400
    assert reply.json()["error"]["details"]["error_code"] == "thread_unsupported_request"


def test_websockets_are_told_to_use_http(gateway: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                     b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
        assert peer.recv(4096).startswith(b"HTTP/1.1 426 ")


def test_a_large_head_is_refused(gateway: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 20_000)
        assert peer.recv(4096).startswith(b"HTTP/1.1 431 ")
    assert httpx2.get(gateway.url + "/healthz", headers={"x-a": "a" * 9_000}).status_code == 200


def test_compressed_bodies(gateway: RunningGateway) -> None:
    packed = gzip.compress(json.dumps(GOOD).encode())
    url = gateway.url + "/v1/chat/completions"
    assert httpx2.post(url, content=packed, headers={"content-encoding": "gzip"}).status_code == 200
    bomb = gzip.compress(b" " * 5_000_000)
    assert httpx2.post(url, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413
    assert httpx2.post(url, content=packed, headers={"content-encoding": "zstd"}).status_code == 415
    assert httpx2.post(url, content=b"nonsense", headers={"content-encoding": "gzip"}).status_code == 400


def test_a_body_is_json_for_the_provider_whatever_the_client_calls_it(
    gateway: RunningGateway, wire: WireServer
) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}  # what curl -d says
    reply = httpx2.post(gateway.url + "/v1/chat/completions", content=json.dumps(GOOD).encode(), headers=form)
    assert len(reply.headers.get_list("date")) == 1 and "server" not in reply.headers
    assert wire.calls[-1].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"x-api-key": "tök".encode()}, 401),
        ({"authorization": "Bearer right-token"}, 200),
        ({"x-api-key": "right-token"}, 200),
        ({"x-harness-token": "right-token", "authorization": "Bearer mine"}, 200),
    ],
)
def test_tokens(wire: WireServer, headers: dict[str, Any], status: int) -> None:
    rows = [{"model": "openai/*", "base_url": wire.url, "passthrough_auth": True}]
    with RunningGateway({"models": rows, "tokens": ["other-token", "right-token"]}) as running:
        before = len(wire.calls)
        reply = httpx2.post(running.url + "/v1/chat/completions", json=GOOD, headers=headers)
        assert reply.status_code == status, reply.text
        assert "right-token" not in reply.text
        if status == 200:
            sent = wire.calls[-1].headers
            assert "right-token" not in json.dumps(dict(sent))
            assert sent.get("authorization", "").removeprefix("Bearer ") in ("", "mine")
        assert len(wire.calls) - before == (status == 200)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/openai/m", "/metrics"])
def test_what_is_offered_and_spent_is_told_to_those_with_a_token(path: str) -> None:
    elsewhere = {"host": "gateway.example.org"}
    token = {"authorization": "Bearer right-token"}
    with RunningGateway({"models": [{"model": "openai/*"}], "tokens": ["right-token"]}) as running:
        assert httpx2.get(running.url + path).status_code == 200, "on this machine"
        assert httpx2.get(running.url + path, headers=elsewhere).status_code == 401
        assert httpx2.get(running.url + path, headers=elsewhere | token).status_code == 200
        assert httpx2.get(running.url + path, headers=elsewhere | {"x-api-key": "right-token"}).status_code == 200
    with RunningGateway({"models": [{"model": "openai/*"}]}) as running:
        assert httpx2.get(running.url + path, headers=elsewhere).status_code == 200


def test_all_models_of_a_provider_are_listed_by_names_that_can_be_asked_for() -> None:
    with RunningGateway({"models": [{"model": "anthropic/*"}, {"model": "ollama/*"}]}) as running:
        listed = [row["id"] for row in httpx2.get(running.url + "/v1/models").json()["data"]]
    assert "anthropic/claude-haiku-5-5" in listed and "anthropic/*" not in listed
    assert listed[-1] == "ollama/*", "of which no models are known"


def test_a_public_port_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):
        with pytest.raises(ConfigError, match="reachable from other machines"):
            check_exposure(settings_for({"host": host}))
        check_exposure(settings_for({"host": host, "tokens": ["t"]}))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(settings_for({"host": host}))


def test_rate_limits_count_what_was_used(wire: WireServer) -> None:
    limits = [{"model": "openai/m", "tokens": 60, "per": "hour", "header": "x-team"}]
    with RunningGateway({"models": upstream(wire.url), "rate_limits": limits}) as running:
        url = running.url + "/v1/chat/completions"
        codes = [httpx2.post(url, json=GOOD, headers={"x-team": "a"}).status_code for _ in range(6)]
        assert codes[0] == 200 and codes[-1] == 429
        last = httpx2.post(url, json=GOOD, headers={"x-team": "a"})
        assert int(last.headers["retry-after"]) > 1 and last.json()["error"]["type"] == "rate_limit_error"
        assert httpx2.post(url, json=GOOD, headers={"x-team": "b"}).status_code == 200


def test_one_long_answer_costs_at_most_one_more_period() -> None:
    now = 0.0
    limiter = RateLimiter([RateLimit(model="m", tokens=40, per="minute")], lambda: now)
    assert limiter.take("m", {}, 10) is None
    limiter.settle("m", {}, estimated=10, used=1214)
    assert limiter.take("m", {}, 10) == pytest.approx(75)
    now = 75.0
    assert limiter.take("m", {}, 10) is None


@pytest.mark.parametrize("stream", [False, True])
def test_filters_cut_and_block(wire: WireServer, stream: bool) -> None:
    filters = [
        {"name": "secrets"},
        {"name": "credit_card", "action": "redact"},
        {"name": "email", "direction": "response", "action": "redact"},
    ]
    with RunningGateway({"models": upstream(wire.url), "filters": filters}) as running:
        url = running.url + "/v1/chat/completions"

        def ask(text: str) -> httpx2.Response:
            return httpx2.post(url, json={**GOOD, "stream": stream, "messages": [{"role": "user", "content": text}]})

        blocked = ask("my key is sk-ant-api03-" + "a1" * 20)
        assert blocked.status_code == 400 and "'secrets'" in blocked.json()["error"]["message"]
        assert "messages.0.content" in blocked.text and "a1a1" not in blocked.text
        answer = ask("card 4111 1111 1111 1111, number 4111 1111 1111 1112")
        assert wire.calls[-1].body["messages"][0]["content"] == "card [filtered], number 4111 1111 1111 1112"
        assert "jane@" not in answer.text and "[filtered] about it." in answer.text.replace('"}}]}', "")


def test_nothing_secret_is_told(gateway: RunningGateway, wire: WireServer) -> None:
    httpx2.post(gateway.url + "/v1/chat/completions", json=GOOD)
    for path in ("/metrics", "/v1/models", "/readyz", "/healthz"):
        assert "sk-upstream" not in httpx2.get(gateway.url + path).text
    assert "sk-upstream" not in repr(gateway.settings)


def test_the_token_count_is_an_estimate_and_says_so(gateway: RunningGateway) -> None:
    reply = httpx2.post(
        gateway.url + "/v1/messages/count_tokens", json={**GOOD, "messages": [{"role": "user", "content": "a" * 400}]}
    )
    assert 100 <= reply.json()["input_tokens"] <= 130 and reply.headers["x-harness-estimate"] == "true"
