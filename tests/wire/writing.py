"""A scripted reply in each wire format: the whole JSON, and the events of its stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.models.script import Facts, Said, ScriptedError
from harness.models.scripted import content_of
from harness.types import Block, Opaque, Text, ToolUse, Usage
from tests.wire.reading import Wire

STATUS = {
    "unavailable": (529, "overloaded_error"),
    "rate_limited": (429, "rate_limit_error"),
    "server": (500, "api_error"),
    "stream_error": (529, "overloaded_error"),
    "auth": (401, "authentication_error"),
    "bad_request": (400, "invalid_request_error"),
    "not_found": (404, "not_found_error"),
}


def blocks_of(said: Said, facts: Facts, body: Mapping[str, Any]) -> tuple[Block, ...]:
    """The reply's blocks; a structured answer becomes the forced tool's input where the request forces one."""
    choice = body.get("tool_choice")
    forced = None
    if isinstance(choice, dict) and choice.get("type") in ("tool", "function"):
        forced = choice.get("name") or (choice.get("function") or {}).get("name")
    if said.answer is None or forced is None:
        return content_of(said, facts)
    return (ToolUse(id="toolu_answer", name=forced, input=said.answer),)


def error_body(wire: Wire, error: ScriptedError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON and headers of a scripted error."""
    status, kind = STATUS[error.kind]
    message = error.message or f"scripted error: {error.kind}"
    headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:g}"}
    if wire == "messages":
        return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}, headers
    code = {"auth": "invalid_api_key", "not_found": "model_not_found", "rate_limited": "rate_limit_exceeded"}
    told = {"message": message, "type": kind, "param": None, "code": code.get(error.kind)}
    return (503 if status == 529 else status), {"error": told}, headers


def whole(
    wire: Wire, number: int, model: str, blocks: Sequence[Block], stop: str, usage: Usage | None
) -> dict[str, Any]:
    """The reply as one JSON document."""
    return {"messages": _message, "chat": _completion, "responses": _response}[wire](number, model, blocks, stop, usage)


def events(wire: Wire, document: Mapping[str, Any], include_usage: bool = True) -> Iterator[bytes]:
    """The same reply as server-sent events."""
    if wire == "messages":
        return _message_events(document)
    return _chunk_events(document, include_usage) if wire == "chat" else _response_events(document)


def _message(number: int, model: str, blocks: Sequence[Block], stop: str, usage: Usage | None) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, Text):
            content.append({"type": "text", "text": block.text})
        elif isinstance(block, ToolUse):
            content.append({"type": "tool_use", "id": block.id, "name": block.name, "input": block.input})
        elif isinstance(block, Opaque):
            content.append(dict(block.block))
    told = usage or Usage()
    return {
        "id": f"msg_{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": {"end": "end_turn"}.get(stop, stop),
        "stop_sequence": None,
        "usage": {
            "input_tokens": told.input_tokens,
            "cache_creation_input_tokens": told.cache_write_5m_tokens + told.cache_write_1h_tokens,
            "cache_read_input_tokens": told.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": told.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": told.cache_write_1h_tokens,
            },
            "output_tokens": told.output_tokens,
            "service_tier": "standard",
        },
    }


def _message_events(message: Mapping[str, Any]) -> Iterator[bytes]:
    usage = dict(message["usage"])
    start = {**message, "content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield _event("message_start", {"message": start})
    yield _event("ping", {})
    for index, block in enumerate(message["content"]):
        empty, deltas = _deltas(block)
        yield _event("content_block_start", {"index": index, "content_block": empty})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": delta, "usage": {"output_tokens": usage["output_tokens"]}})
    yield _event("message_stop", {})


def _deltas(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
    if block["type"] == "tool_use":
        written = json.dumps(block["input"], ensure_ascii=False)
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in _parts(written)]
    if block["type"] == "thinking":
        thought = [{"type": "thinking_delta", "thinking": part} for part in _parts(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*thought, signed]
    return dict(block), []


def _completion(number: int, model: str, blocks: Sequence[Block], stop: str, usage: Usage | None) -> dict[str, Any]:
    text = "".join(block.text for block in blocks if isinstance(block, Text))
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}
        for block in blocks
        if isinstance(block, ToolUse)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    reasons = {"end": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
    document: dict[str, Any] = {
        "id": f"chatcmpl-{number:06d}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reasons[stop]}],
    }
    if usage is not None:
        document["usage"] = {
            "prompt_tokens": usage.total_input,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
        }
    return document


def _chunk_events(document: Mapping[str, Any], include_usage: bool) -> Iterator[bytes]:
    base = {key: document[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = document["choices"][0]
    message = choice["message"]

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        return _data(base | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield chunk({"role": "assistant", "content": ""})
    for part in _parts(message["content"] or ""):
        yield chunk({"content": part})
    for index, call in enumerate(message.get("tool_calls", ())):
        opened = {"index": index, "id": call["id"], "type": "function"}
        yield chunk({"tool_calls": [opened | {"function": {"name": call["function"]["name"], "arguments": ""}}]})
        for part in _parts(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, choice["finish_reason"])
    if include_usage and "usage" in document:
        yield _data(base | {"choices": [], "usage": document["usage"]})
    yield b"data: [DONE]\n\n"


def _response(number: int, model: str, blocks: Sequence[Block], stop: str, usage: Usage | None) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        name = f"{number:06d}_{place}"
        if isinstance(block, Text):
            part = {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}
            output.append(
                {"type": "message", "id": f"msg_{name}", "role": "assistant", "status": "completed", "content": [part]}
            )
        elif isinstance(block, ToolUse):
            call = {"type": "function_call", "id": f"fc_{name}", "call_id": block.id, "name": block.name}
            output.append(call | {"arguments": json.dumps(block.input), "status": "completed"})
        elif isinstance(block, Opaque):
            thought = {"type": "reasoning", "id": f"rs_{name}", "encrypted_content": "c2NyaXB0ZWQ="}
            summary = [{"type": "summary_text", "text": str(block.block.get("thinking", ""))}]
            output.append(thought | {"summary": summary, "status": "completed"})
    document: dict[str, Any] = {
        "id": f"resp_{number:06d}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if stop == "max_tokens" else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if stop == "max_tokens" else None,
        "instructions": None,
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
    }
    if usage is not None:
        document["usage"] = {
            "input_tokens": usage.total_input,
            "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.tokens,
        }
    return document


def _response_events(document: Mapping[str, Any]) -> Iterator[bytes]:
    numbers = iter(range(10**9))

    def event(name: str, data: Mapping[str, Any]) -> bytes:
        return _event(name, {"sequence_number": next(numbers), **data})

    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", {"response": begun})
    yield event("response.in_progress", {"response": begun})
    for index, item in enumerate(document["output"]):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            text, part = item["content"][0]["text"], item["content"][0]
            yield event("response.output_item.added", {"output_index": index, "item": {**item, "content": []}})
            yield event("response.content_part.added", {**place, "content_index": 0, "part": {**part, "text": ""}})
            for piece in _parts(text):
                delta = {**place, "content_index": 0, "delta": piece, "logprobs": []}
                yield event("response.output_text.delta", delta)
            yield event("response.output_text.done", {**place, "content_index": 0, "text": text, "logprobs": []})
            yield event("response.content_part.done", {**place, "content_index": 0, "part": part})
        elif item["type"] == "function_call":
            yield event("response.output_item.added", {"output_index": index, "item": {**item, "arguments": ""}})
            for piece in _parts(item["arguments"]):
                yield event("response.function_call_arguments.delta", {**place, "delta": piece})
            yield event("response.function_call_arguments.done", {**place, "arguments": item["arguments"]})
        else:
            yield event("response.output_item.added", {"output_index": index, "item": {**item, "summary": []}})
        yield event("response.output_item.done", {"output_index": index, "item": item})
    last = "response.incomplete" if document["status"] == "incomplete" else "response.completed"
    yield event(last, {"response": document})


def _parts(text: str, size: int = 24) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data}, ensure_ascii=False)}\n\n".encode()


def _data(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def error_event(wire: Wire, error: ScriptedError) -> bytes:
    """The error as an event in a stream that had begun well."""
    _, body, _ = error_body(wire, error)
    return _event("error", body) if wire == "messages" else _data(body)
