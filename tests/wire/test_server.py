"""The scripted server itself: its manners towards real clients, its streams as the SDKs read them, its bills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from starlette.responses import PlainTextResponse

from harness.models.script import script_of
from tests.wire import WireServer

TOOL = {"thinking": "hm", "text": "I look: ünï", "tools": [{"name": "bash", "input": {"command": "ls -l 'a b'"}}]}
LONG = "You are one of several engineers. " * 300


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer(lambda request: TOOL) as running:
        yield running


@pytest.fixture
async def http(server: WireServer) -> Any:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


async def test_what_clients_ask_besides(http: httpx2.AsyncClient, server: WireServer) -> None:
    assert (await http.head("/")).status_code == 200
    counted = await http.post(
        "/v1/messages/count_tokens?beta=true", json={"messages": [{"role": "user", "content": "hi"}]}
    )
    assert counted.json()["input_tokens"] > 0
    assert (await http.get("/v1/models")).status_code == 200
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/v1/responses")).status_code == 426
    unknown = await http.post("/api/event_logging/batch", content=b"\x00not json")
    assert unknown.status_code == 404 and unknown.json()["error"]["type"] == "not_found_error"
    assert len(server.requests) == 6 and server.calls == []


async def test_requests_are_recorded_as_they_came(http: httpx2.AsyncClient, server: WireServer) -> None:
    body = b'{"model": "claude-haiku-5-5", "messages": [],  "unknown": 1}'
    await http.post("/v1/messages?beta=true", content=body, headers={"X-Model-Affinity": "s1"})
    (call,) = server.calls
    assert (call.method, call.path, call.query, call.raw) == ("POST", "/v1/messages", "beta=true", body)
    assert call.headers["x-model-affinity"] == "s1" and call.facts.tier == "haiku" and call.body["unknown"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_anthropic_sdk_reads_it(server: WireServer, stream: bool) -> None:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
        ask: dict[str, Any] = {
            "model": "claude-haiku-5-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
        }
        if stream:
            async with client.messages.stream(**ask) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**ask)
    thought, text, use = message.content
    assert thought.type == "thinking" and (thought.thinking, thought.signature) == ("hm", "c2NyaXB0ZWQ=")
    assert text.type == "text" and text.text == TOOL["text"]
    assert use.type == "tool_use" and use.input == {"command": "ls -l 'a b'"} and message.stop_reason == "tool_use"
    assert message.usage.output_tokens > 0 and message.usage.cache_creation is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_openai_sdk_reads_its_responses(server: WireServer, stream: bool) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
        if stream:
            async with client.responses.stream(model="gpt-6", input="x") as events:
                seen = [event.type async for event in events]
                response = await events.get_final_response()
            assert seen[0] == "response.created" and seen[-1] == "response.completed"
        else:
            response = await client.responses.create(model="gpt-6", input="x")
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.output_text == TOOL["text"]
    assert response.usage is not None and response.usage.total_tokens > 0


async def test_the_openai_sdk_reads_its_chat_streams(server: WireServer) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client:
        ask: dict[str, Any] = {"model": "gpt-6", "messages": [{"role": "user", "content": "x"}]}
        async with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as events:
            completion = await events.get_final_completion()
        whole = await client.chat.completions.create(**ask)
    for told in (completion, whole):
        (call,) = told.choices[0].message.tool_calls or ()
        assert call.type == "function" and call.function.arguments == '{"command": "ls -l \'a b\'"}'
        assert told.usage is not None and told.choices[0].message.content == TOOL["text"]


async def test_a_key_is_asked_for_in_either_header() -> None:
    body = {"model": "m", "messages": []}
    with WireServer([{"text": "a"}, {"text": "b"}], key="right") as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            for headers, status in (
                ({}, 401),
                ({"x-api-key": "wrong"}, 401),
                ({"x-api-key": "right"}, 200),
                ({"authorization": "Bearer right"}, 200),
            ):
                assert (await http.post("/v1/messages", json=body, headers=headers)).status_code == status


async def test_one_script_answers_alike_on_every_wire_without_our_headers() -> None:
    script = script_of(
        {
            "replies": [
                {"when": {"offers": "bash", "turn": 2, "last": "file.py"}, "text": "second"},
                {"when": {"prompt": "rules", "after_feedback": "fix it", "tier": "sonnet"}, "text": "first"},
                {"text": "else"},
            ]
        }
    )
    tool = {"name": "bash", "input_schema": {"type": "object"}}
    messages = [
        {"role": "user", "content": "fix it"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "u", "name": "bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u", "content": "file.py"}]},
    ]
    chat = [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": [{"type": "text", "text": "fix it"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "u", "function": {"name": "bash", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "u", "content": "file.py"},
    ]
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "fix it"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "u", "name": "bash", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "u", "output": "file.py"},
    ]
    model = {"model": "claude-sonnet-5-5"}
    with WireServer(script) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:

            async def said(path: str, **body: Any) -> str:
                return (await http.post(path, json=model | body)).text

            assert "first" in await said("/v1/messages", system="rules", messages=messages[:1])
            assert "second" in await said("/v1/messages", system="rules", messages=messages, tools=[tool])
            assert "first" in await said("/v1/chat/completions", messages=chat[:2])
            function = {"type": "function", "function": tool}
            assert "second" in await said("/v1/chat/completions", messages=chat, tools=[function])
            assert "first" in await said("/v1/responses", instructions="rules", input=items[:1])
            assert "second" in await said("/v1/responses", instructions="rules", input=items, tools=[tool])
            assert "else" in await said("/v1/responses", input="hello")


async def test_bills_follow_the_caching_rules() -> None:
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body = {"model": "claude-haiku-5-5", "system": system, "messages": [{"role": "user", "content": "x"}]}
    with WireServer(lambda request: {"text": "ok"}) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            first, second = [(await http.post("/v1/messages", json=body)).json()["usage"] for _ in range(2)]
    assert first["cache_creation"]["ephemeral_1h_input_tokens"] == first["cache_creation_input_tokens"] > 2000
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert server.billed.requests == 2 and server.billed.cache_read_tokens == second["cache_read_input_tokens"]


async def test_scripted_errors_have_each_wires_form() -> None:
    limited = {"error": {"kind": "rate_limited", "message": "slow down", "retry_after": 2.5}}
    with WireServer([limited, limited]) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            ours = await http.post("/v1/messages", json={"messages": []})
            theirs = await http.post("/v1/chat/completions", json={"messages": []})
    assert ours.status_code == theirs.status_code == 429 and ours.headers["retry-after"] == "2.5"
    assert ours.json()["error"] == {"type": "rate_limit_error", "message": "slow down"}
    assert theirs.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_used_up_list_and_a_response_of_ones_own() -> None:
    with WireServer([PlainTextResponse("odd", 418)]) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            assert (await http.post("/v1/messages", json={})).status_code == 418
            done = await http.post("/v1/messages", json={})
            assert done.status_code == 400 and "used up" in done.text
