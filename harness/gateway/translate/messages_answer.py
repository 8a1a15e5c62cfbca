"""Answers in Anthropic Messages ↔ the common ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from harness.gateway.translate.messages import FOREIGN_SIGNATURE, arguments_object
from harness.gateway.translate.neutral import (
    Answer,
    Call,
    Count,
    Stop,
    Text,
    Thought,
)

_STOPS: dict[str, Stop] = {
    "end_turn": "end",
    "tool_use": "tool",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause_turn": "end",
    "model_context_window_exceeded": "length",
}


_REASONS: dict[Stop, str] = {
    "end": "end_turn",
    "tool": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}


def read_answer(body: Mapping[str, Any]) -> Answer:
    """A whole Messages reply."""
    parts: list[Text | Call | Thought] = []
    content = body.get("content")
    for block in content if isinstance(content, list) else ():
        kind = block.get("type")
        if kind == "text":
            parts.append(Text(str(block.get("text", ""))))
        elif kind == "thinking":
            parts.append(Thought(str(block.get("thinking", ""))))
        elif kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            parts.append(Call(str(block.get("id", "")), str(block.get("name", "")), arguments))
    return Answer(
        str(body.get("id", "")),
        str(body.get("model", "")),
        tuple(parts),
        stop_of(body.get("stop_reason")),
        count_of(body.get("usage")),
        body.get("stop_sequence"),
    )


def stop_of(reason: Any) -> Stop:
    return _STOPS.get(str(reason), "end")


def count_of(usage: Any) -> Count | None:
    if not isinstance(usage, dict):
        return None
    return Count(
        usage.get("input_tokens") or 0,
        usage.get("output_tokens") or 0,
        usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0,
    )


def write_answer(answer: Answer) -> dict[str, Any]:
    """A whole Messages reply. Thoughts from elsewhere are marked as such."""
    blocks: list[dict[str, Any]] = []
    for part in answer.parts:
        if isinstance(part, Text):
            blocks.append({"type": "text", "text": part.text})
        elif isinstance(part, Thought):
            blocks.append({"type": "thinking", "thinking": part.text, "signature": FOREIGN_SIGNATURE})
        else:
            blocks.append(
                {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_object(part.arguments)}
            )
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": blocks,
        "stop_reason": reason_of(answer.stop),
        "stop_sequence": answer.stop_sequence,
        "usage": usage_of(answer.count),
    }


def reason_of(stop: Stop) -> str:
    return _REASONS[stop]


def usage_of(count: Count | None) -> dict[str, Any]:
    count = count or Count()
    return {
        "input_tokens": count.input,
        "output_tokens": count.output,
        "cache_read_input_tokens": count.cache_read,
        "cache_creation_input_tokens": count.cache_write,
    }


def error_text(data: Any) -> tuple[str, str | None]:
    """(message, kind) of any provider's error body."""
    if isinstance(data, dict):
        error = data.get("error", data)
        if isinstance(error, dict):
            return str(error.get("message") or error.get("code") or "the provider gave no reason"), error.get(
                "code"
            ) or error.get("type")
        return str(error), None
    return "the provider gave no reason", None
