"""Translated requests fit the vendors' types; what cannot be said is refused by name; a round trip loses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from harness.gateway.exchange import Asked
from harness.gateway.prepare import prepare
from harness.gateway.refusal import Refusal
from harness.gateway.translate import Translation, chat, error_in, messages, responses
from harness.gateway.translate.neutral import Call, Image, Prompt, Result, Text, Tool, Turn
from tests.gateway.running import settings_for

PARAMS: dict[str, Any] = {
    "messages": MessageCreateParamsNonStreaming,
    "chat": CompletionCreateParamsNonStreaming,
    "responses": ResponseCreateParamsNonStreaming,
}
READ: dict[str, Any] = {
    "messages": messages.read_request,
    "chat": chat.read_request,
    "responses": responses.read_request,
}
WRITE: dict[str, Any] = {
    "messages": messages.write_request,
    "chat": chat.write_request,
    "responses": responses.write_request,
}
FORMS = tuple(READ)


@cache
def vendor_type(form: str) -> TypeAdapter[Any]:
    return TypeAdapter(PARAMS[form])


def fits(form: str, body: dict[str, Any]) -> None:
    """Fail unless the vendor's SDK would take it; `stream: true` is its other signature."""
    vendor_type(form).validate_python({**body, **({"stream": False} if body.get("stream") else {})})


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20).filter(str.strip)
names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
schemas = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
arguments = st.dictionaries(names, words | st.integers(-9, 9) | st.booleans(), max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)
images = st.builds(Image, media_type=st.just("image/png"), data=st.just("iVBORw0KGgo=")) | st.builds(
    Image, url=st.just("https://example.org/a.png")
)
texts = st.builds(Text, words)


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    """Conversations as agents have them: system, then user and assistant in turn, calls answered by their results."""
    turns = [Turn("system", (draw(texts),))] if draw(st.booleans()) else []
    turns.append(Turn("user", (*draw(st.lists(images, max_size=1)), draw(texts))))
    for number in range(draw(st.integers(0, 3))):
        calls = tuple(Call(f"call_{number}_{k}", draw(names), draw(arguments)) for k in range(draw(st.integers(1, 2))))
        said = (draw(texts),) if draw(st.booleans()) else ()
        turns.append(Turn("assistant", (*said, *calls)))
        turns.append(Turn("user", tuple(Result(call.id, (draw(texts),)) for call in calls)))
    some = st.builds(Tool, names, words, schemas)
    tools = draw(st.lists(some, max_size=3, unique_by=lambda tool: tool.name))
    choice = draw(st.sampled_from([None, "auto", "none", "required", f"={tools[0].name}"])) if tools else None
    return Prompt(
        model="m", turns=tuple(turns), tools=tuple(tools), tool_choice=choice,
        parallel=draw(st.sampled_from([None, False])) if tools and choice != "none" else None,
        max_tokens=draw(st.integers(1, 9999)), temperature=draw(st.none() | st.sampled_from([0, 0.5, 1])),
        top_p=draw(st.none() | st.just(0.9)), stream=draw(st.booleans()),
        effort=draw(st.sampled_from([None, "low", "medium", "high"])),
        schema=draw(st.none() | st.just({"type": "object", "properties": {}, "additionalProperties": False})),
    )  # fmt: skip


def said(prompt: Prompt) -> dict[str, Any]:
    """What a prompt says, whatever the cut into turns."""
    flat: list[tuple[str, Any]] = [(turn.role, part) for turn in prompt.turns for part in turn.parts]
    kept = ("tool_choice", "parallel", "max_tokens", "temperature", "top_p", "stream", "effort", "schema")
    shown = {name: getattr(prompt, name) for name in kept}
    shown["tool_choice"] = None if shown["tool_choice"] == "auto" else shown["tool_choice"]
    return shown | {"parts": flat, "tools": [(tool.name, tool.description, dict(tool.schema)) for tool in prompt.tools]}


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("form", FORMS)
@given(prompt=prompts())
def test_a_round_trip_says_the_same(form: str, prompt: Prompt) -> None:
    body = json.loads(json.dumps(WRITE[form](prompt)))
    assert said(READ[form](body)) == said(prompt)


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("provider", FORMS)
@pytest.mark.parametrize("client", FORMS)
@given(prompt=prompts())
def test_translated_requests_fit_the_vendors_types(client: str, provider: str, prompt: Prompt) -> None:
    body = json.loads(json.dumps(WRITE[client](prompt)))
    fits(client, body)
    if client != provider:
        there: Any = provider
        here: Any = client
        fits(provider, json.loads(Translation(here, there, body, "other").request))


@pytest.mark.parametrize(
    "client,body,field",
    [
        ("messages", {"top_k": 5}, "top_k"),
        ("messages", {"mcp_servers": [{}]}, "mcp_servers"),
        ("messages", {"a_new_field": 1}, "a_new_field"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
            "messages.0.content.0.type",
        ),
        ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ("chat", {"n": 2}, "n"),
        ("chat", {"logit_bias": {"5": 1}}, "logit_bias"),
        ("chat", {"response_format": {"type": "json_object"}}, "response_format.type"),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0.type"),
        ("chat", {"temperature": 1.5}, "temperature"),
        ("chat", {"max_tokens": "many"}, "max_tokens"),
        ("responses", {"previous_response_id": "r"}, "previous_response_id"),
        ("responses", {"background": True}, "background"),
        ("responses", {"tools": [{"type": "file_search"}]}, "tools.0.type"),
        ("responses", {"input": [{"type": "computer_call"}]}, "input.0.type"),
        (
            "responses",
            {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_url": "u"}]}]},
            "input.0.output",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(client: Any, body: dict[str, Any], field: str) -> None:
    base: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    base = {"model": "m", "input": "x"} if client == "responses" else base
    provider: Any = "chat" if client == "messages" else "messages"
    with pytest.raises(Refusal) as refused:
        Translation(client, provider, {**base, **body}, "m")
    assert refused.value.status == 400 and refused.value.param == field and field in refused.value.message


def test_hosted_tools_and_hints_are_left_out_and_named() -> None:
    body = {
        "model": "m",
        "input": "x",
        "store": True,
        "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}],
    }
    translated = Translation("responses", "messages", body, "m")
    assert translated.dropped == ("store", "tools.0 (web_search)")
    assert [tool["name"] for tool in json.loads(translated.request)["tools"]] == ["f"]


def test_a_free_text_tool_comes_back_as_free_text() -> None:
    tools = [
        {"type": "custom", "name": "apply_patch", "description": "d", "format": {"type": "grammar", "definition": "G"}}
    ]
    translated = Translation("responses", "messages", {"model": "m", "input": "x", "tools": tools}, "m")
    assert "G" in json.loads(translated.request)["tools"][0]["description"]
    reply = {"id": "a", "model": "m", "stop_reason": "tool_use", "content": [
        {"type": "tool_use", "id": "t", "name": "apply_patch", "input": {"input": "*** Begin"}}]}  # fmt: skip
    item = json.loads(translated.reply(json.dumps(reply).encode()))["output"][0]
    assert (item["type"], item["call_id"], item["input"]) == ("custom_tool_call", "t", "*** Begin")


def test_thoughts_of_another_vendor_do_not_go_to_claude() -> None:
    target = settings_for({"models": ["anthropic/m"]}).targets["anthropic/m"]
    thought = {"type": "thinking", "thinking": "hm", "signature": messages.FOREIGN_SIGNATURE}
    rows = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "y"}]},
    ]
    body = {"model": "m", "max_tokens": 9, "messages": rows}
    sent = prepare(Asked("messages", json.dumps(body).encode(), body, {}), target, "via")
    assert json.loads(sent.body)["messages"][1]["content"] == [{"type": "text", "text": "y"}]


CALLED: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": "compare"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "reading"}]},
        {"type": "function_call", "call_id": "a", "name": "read", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [
            {"type": "input_text", "text": "A"}, {"type": "input_image", "image_url": "https://example.org/a.png"}]},
        {"type": "function_call_output", "call_id": "b", "output": "B"},
        {"role": "user", "content": "go on"},
    ],
}  # fmt: skip


def test_parallel_calls_are_one_message_with_their_results_right_behind_it() -> None:
    rows = json.loads(Translation("responses", "chat", CALLED, "m").request)["messages"]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "tool", "user"]
    assert rows[1]["content"] == "reading" and [call["id"] for call in rows[1]["tool_calls"]] == ["a", "b"]
    assert [row["tool_call_id"] for row in rows[2:4]] == ["a", "b"]
    assert [part["type"] for part in rows[4]["content"]] == ["image_url", "text"]


def test_words_in_blocks_are_one_string_for_servers_that_take_no_list() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    body = {"model": "m", "max_tokens": 9, "system": blocks, "messages": [{"role": "user", "content": blocks}]}
    rows = json.loads(Translation("messages", "chat", body, "m").request)["messages"]
    assert [row["content"] for row in rows] == ["one\ntwo", "one\ntwo"]


def test_a_schema_stays_as_strict_as_it_was() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": form}
    there = json.loads(Translation("chat", "responses", body, "m").request)
    assert there["text"]["format"]["strict"] is True
    back = json.loads(Translation("responses", "chat", {**there, "model": "m"}, "m").request)
    assert back["response_format"] == form


async def streamed(client: Any, provider: Any, chunks: list[bytes]) -> bytes:
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "x"}],
    }
    body = {"model": "m", "stream": True, "input": "x"} if client == "responses" else body

    async def upstream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    translation = Translation(client, provider, body, "m")
    return b"".join([chunk async for chunk in translation.stream(upstream())])


def event(**data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@pytest.mark.parametrize(
    "given,pieces,told", [({}, [""], "{}"), ({}, ['{"a"', ": 1}"], '{"a": 1}'), ({"a": 1}, [], '{"a":1}')]
)
async def test_a_streamed_call_has_json_arguments_even_when_it_has_none(
    given: dict[str, Any], pieces: list[str], told: str
) -> None:
    call = {"type": "tool_use", "id": "t", "name": "now", "input": given}
    deltas = [
        event(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in pieces
    ]
    sent = await streamed("chat", "messages", [
        event(type="message_start", message={"id": "i", "model": "m"}),
        event(type="content_block_start", index=0, content_block=call), *deltas,
        event(type="content_block_stop", index=0), event(type="message_stop"),
    ])  # fmt: skip
    found = [json.loads(line[6:]) for line in sent.splitlines() if line.startswith(b"data: {")]
    calls = [row for chunk in found for choice in chunk["choices"] for row in choice["delta"].get("tool_calls", ())]
    assert "".join(row["function"]["arguments"] for row in calls) == told
    assert calls[0]["id"] == "t" and calls[0]["function"]["name"] == "now"


async def test_a_stream_that_fails_at_once_still_begins_as_its_format_does() -> None:
    sent = await streamed("responses", "messages", [b"data: {broken\n\n"])
    kinds = [line[7:] for line in sent.decode().splitlines() if line.startswith("event: ")]
    assert kinds == ["response.created", "response.in_progress", "response.failed"]


@pytest.mark.parametrize(
    "provider,reply,told",
    [
        ("chat", {"error": {"message": "out of credit", "code": 402}}, "out of credit"),
        ("chat", {"choices": "no"}, "not in its own format"),
        ("chat", {"choices": []}, "not in its own format"),
        ("messages", {"content": 5}, "not in its own format"),
        ("responses", {"output": {"a": 1}}, "not in its own format"),
    ],
)
def test_an_answer_that_is_none_is_an_error(provider: Any, reply: dict[str, Any], told: str) -> None:
    client: Any = "messages" if provider != "messages" else "chat"
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(Refusal, match=told) as refused:
        Translation(client, provider, body, "m").reply(json.dumps(reply).encode())
    assert refused.value.status == 502


LONG = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}}
FULL = {"error": {"message": "This model's limit is 8 tokens.", "type": "x", "code": "context_length_exceeded"}}


@pytest.mark.parametrize(
    "client,error,message,code",
    [
        ("chat", LONG, "prompt is too long: 9 tokens > 8", "context_length_exceeded"),
        ("messages", FULL, "prompt is too long: This model's limit is 8 tokens.", None),
        ("responses", FULL, "This model's limit is 8 tokens.", "context_length_exceeded"),
        ("chat", {"error": {"message": "no", "code": "insufficient_quota"}}, "no", "insufficient_quota"),
        ("chat", {"error": {"message": "no", "code": 402}}, "no", None),
        ("chat", {"error": "no"}, "no", None),
        ("chat", [1], "the provider gave no reason", None),
    ],
)
def test_what_clients_go_by_in_an_error_travels(client: Any, error: Any, message: str, code: str | None) -> None:
    told = json.loads(error_in(client, json.dumps(error).encode(), 400))["error"]
    assert (told["message"], told.get("code")) == (message, code)
