"""A router model's endpoint: what is asked, and what becomes of answers that are late, failing or malformed."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from harness.config.settings import RoutePreference
from harness.gateway.cooldown import Cooldown
from harness.routing.router_model import Answer, RouterDown, RouterModel, http_post
from harness.routing.turns import Turn

ROUTES = (RoutePreference(name="code", description="writing code"),)
TALK = (Turn("system", "secret system prompt"), Turn("user", "write a loop"))


def completion(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


async def test_over_http_only_the_conversation_is_sent() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, content=completion('```json\n{"route": "code"}\n```'))

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        model = RouterModel("arch", http_post(client, "http://router/v1/", {"authorization": "Bearer k"}))
        assert await model.choose(ROUTES, TALK) == "code"
    body = json.loads(seen[0].content)
    assert str(seen[0].url) == "http://router/v1/chat/completions" and seen[0].headers["authorization"] == "Bearer k"
    assert body["model"] == "arch" and "write a loop" in body["messages"][0]["content"]
    assert "secret system prompt" not in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(status=429, body=b'{"error": {"message": "slow down"}}'), "answered 429: slow down"),
        (Answer(status=200, body=b"<html>"), "no chat completion"),
        (Answer(status=200, body=completion("I think code")), "names no route"),
    ],
)
async def test_bad_answers(answer: Answer, told: str) -> None:
    async def post(body: dict[str, Any]) -> Answer:
        return answer

    with pytest.raises(RouterDown, match=told):
        await RouterModel("m", post).choose(ROUTES, TALK)


async def test_a_slow_router_is_given_up() -> None:
    async def post(body: dict[str, Any]) -> Answer:
        await anyio.sleep(60)
        raise AssertionError

    with pytest.raises(RouterDown, match=r"took longer than 0\.05 s"):
        await RouterModel("m", post, timeout=0.05).choose(ROUTES, TALK)


async def test_one_that_was_slow_is_not_waited_for_again_at_once() -> None:
    now, calls = 0.0, 0

    async def post(body: dict[str, Any]) -> Answer:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep(60)
        return Answer(status=200, body=completion("I think code" if calls == 2 else '{"route": "code"}'))

    cooldown = Cooldown(30, lambda: now)
    model = RouterModel("m", post, timeout=0.01, resting=cooldown)
    for told in ("took longer than 0.01 s$", "took longer than 0.01 s; asked again in 30 s"):
        with pytest.raises(RouterDown, match=told):
            await model.choose(ROUTES, TALK)
    assert calls == 1 and list(cooldown.resting()) == ["router model m"]
    now = 31.0
    with pytest.raises(RouterDown, match="names no route"):
        await model.choose(ROUTES, TALK)
    assert await model.choose(ROUTES, TALK) == "code", "nonsense is no reason to rest"
