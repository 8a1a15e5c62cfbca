"""Requests of all three formats through a running gateway to models of all three formats, with the vendors' SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.gateway.running import RunningGateway
from tests.wire.server import WireServer

SAID: dict[str, Any] = {
    "text": "I look first.",
    "tools": [{"name": "read", "input": {"path": "a.py"}, "id": "call_1"}],
    "usage": {"input": 100, "output": 7, "cache_read": 40},
}
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
MODELS = {"messages": "anthropic/claude-x", "chat": "groq/gpt-x", "responses": "chatgpt/gpt-x"}


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer(lambda request: SAID) as server:
        yield server


@pytest.fixture
def gateway(wire: WireServer) -> Iterator[RunningGateway]:
    rows = [
        {"model": f"{name}/*", "base_url": wire.url, "api_key": f"sk-{name}-key-0123456789"}
        for name in ("anthropic", "groq", "chatgpt")
    ]
    with RunningGateway({"models": rows}) as running:
        yield running


@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_sdk(gateway: RunningGateway, wire: WireServer, target: str, stream: bool) -> None:
    tools: Any = [{"name": "read", "description": "Read", "input_schema": SCHEMA}]
    question: Any = {
        "model": MODELS[target],
        "max_tokens": 64,
        "tools": tools,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What is in a.py?"}],
    }
    with anthropic.Anthropic(base_url=gateway.url, api_key="client-key", max_retries=0) as client:
        if stream:
            with client.messages.stream(**question) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**question)
    text, call = message.content
    assert text.type == "text" and text.text == "I look first."
    assert call.type == "tool_use" and (call.name, call.input) == ("read", {"path": "a.py"})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (
        100,
        40,
        7,
    )
    assert wire.calls[0].wire == target
    assert wire.calls[0].body["model"] == MODELS[target].partition("/")[2]


@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_chat(gateway: RunningGateway, wire: WireServer, target: str, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}]
    question: Any = {
        "model": MODELS[target],
        "tools": tools,
        "messages": [{"role": "user", "content": "What is in a.py?"}],
    }
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key="client-key", max_retries=0) as client:
        if stream:
            chunks = list(
                client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **question)
            )
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            parts = [call for c in chunks if c.choices for call in c.choices[0].delta.tool_calls or ()]
            name, arguments = parts[0].function.name, "".join(p.function.arguments or "" for p in parts)
            finish = next(c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason)
            usage = chunks[-1].usage
        else:
            reply = client.chat.completions.create(**question)
            choice, usage = reply.choices[0], reply.usage
            text, finish = choice.message.content, choice.finish_reason
            name, arguments = (
                choice.message.tool_calls[0].function.name,
                choice.message.tool_calls[0].function.arguments,
            )
    assert (text, name, json.loads(arguments), finish) == ("I look first.", "read", {"path": "a.py"}, "tool_calls")
    assert usage is not None and usage.prompt_tokens == 140 and usage.completion_tokens == 7
    assert usage.prompt_tokens_details.cached_tokens == 40
    assert wire.calls[0].wire == target


@pytest.mark.parametrize("target", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_responses(gateway: RunningGateway, wire: WireServer, target: str, stream: bool) -> None:
    tools: Any = [{"type": "function", "name": "read", "parameters": SCHEMA, "strict": False}]
    question: Any = {"model": MODELS[target], "tools": tools, "input": "What is in a.py?", "instructions": "Be brief."}
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key="client-key", max_retries=0) as client:
        if stream:
            with client.responses.stream(**question) as events:
                for _ in events:
                    pass
                reply = events.get_final_response()
        else:
            reply = client.responses.create(**question)
    call = next(item for item in reply.output if item.type == "function_call")
    assert reply.output_text == "I look first."
    assert (call.name, json.loads(call.arguments)) == ("read", {"path": "a.py"})
    assert (
        reply.status == "completed"
        and reply.usage is not None
        and reply.usage.input_tokens == 140
        and reply.usage.output_tokens == 7
    )
    assert reply.usage.input_tokens_details.cached_tokens == 40
    assert wire.calls[0].wire == target


@pytest.mark.parametrize(
    "path,body",
    [
        (
            "/v1/messages",
            {"max_tokens": 9, "messages": [{"role": "user", "content": "hï"}], "a_new_field": {"model": "x"}},
        ),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": '"model": "x"'}], "odd": [1.0, 1e3]}),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": "hi"}], "tools": [{"type": "image_generation", "model": "m"}]},
        ),
    ],
)
def test_same_format_passes_byte_for_byte(path: str, body: dict[str, Any]) -> None:
    provider = "anthropic" if "messages" in path else "openai"
    with WireServer(lambda request: {"text": "ok"}) as wire:
        rows = [{"model": f"{provider}/*", "base_url": wire.url, "api_key": "k" * 20}]
        with RunningGateway({"models": rows}) as gateway:
            raw = json.dumps(body, indent=1, ensure_ascii=False).encode()
            sent = raw.replace(b"{\n", b'{\n "model" :  "' + provider.encode() + b'/some-model",\n', 1)
            headers = {"anthropic-beta": "never-heard-of-2027", "x-claude-code-session-id": "s"}
            reply = httpx2.post(gateway.url + path + "?beta=true", content=sent, headers=headers)
        assert reply.status_code == 200, reply.text
        got = wire.calls[0]
        assert got.raw == sent.replace(provider.encode() + b"/some-model", b"some-model")
        assert got.query == "beta=true" and got.headers["anthropic-beta"] == "never-heard-of-2027"
        assert reply.headers["x-harness-model"] == f"{provider}/some-model"
        assert reply.headers["x-harness-reason"] == f"{provider}/some-model was asked for by name"
        key = (
            got.headers.get("x-api-key")
            if provider == "anthropic"
            else got.headers["authorization"].removeprefix("Bearer ")
        )
        assert key == "k" * 20
