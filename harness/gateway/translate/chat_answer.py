"""Answers in OpenAI Chat Completions ↔ the common ground."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.gateway.translate.chat import call
from harness.gateway.translate.neutral import (
    Answer,
    Call,
    Count,
    Stop,
    Text,
    Thought,
    plain,
)

_STOPS: dict[str, Stop] = {
    "stop": "end",
    "tool_calls": "tool",
    "function_call": "tool",
    "length": "length",
    "content_filter": "refusal",
}


_REASONS: dict[Stop, str] = {
    "end": "stop",
    "tool": "tool_calls",
    "length": "length",
    "stop_sequence": "stop",
    "refusal": "content_filter",
}


def read_answer(body: Mapping[str, Any]) -> Answer:
    """A whole Chat Completions reply; its first choice."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message") or {}
    parts: list[Text | Call | Thought] = []
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str) and thought:
        parts.append(Thought(thought))
    text = message.get("content") or message.get("refusal")
    if isinstance(text, str) and text:
        parts.append(Text(text))
    parts += [call(row, f"tool_calls.{number}") for number, row in enumerate(message.get("tool_calls") or ())]
    stop = "refusal" if message.get("refusal") else stop_of(choice.get("finish_reason"))
    if stop == "end" and any(isinstance(part, Call) for part in parts):
        stop = "tool"  # some servers finish tool calls with `stop`
    return Answer(str(body.get("id", "")), str(body.get("model", "")), tuple(parts), stop, count_of(body.get("usage")))


def stop_of(reason: Any) -> Stop:
    return _STOPS.get(str(reason), "end")


def count_of(usage: Any, read: str = "prompt_tokens", written: str = "completion_tokens") -> Count | None:
    """OpenAI's two formats count alike, under other names."""
    if not isinstance(usage, dict):
        return None
    details, out = usage.get(f"{read}_details") or {}, usage.get(f"{written}_details") or {}
    cached = details.get("cached_tokens") or 0
    return Count(
        max(0, (usage.get(read) or 0) - cached),
        usage.get(written) or 0,
        cached,
        reasoning=out.get("reasoning_tokens") or 0,
    )


def write_answer(answer: Answer) -> dict[str, Any]:
    """A whole Chat Completions reply."""
    message: dict[str, Any] = {"role": "assistant", "content": plain(answer.parts) or None, "refusal": None}
    if answer.stop == "refusal":
        message["refusal"], message["content"] = message["content"], None
    thoughts = "\n".join(part.text for part in answer.parts if isinstance(part, Thought))
    if thoughts:
        message["reasoning_content"] = thoughts
    calls = [part for part in answer.parts if isinstance(part, Call)]
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    body: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason_of(answer.stop), "logprobs": None}],
    }
    return body | ({"usage": usage_of(answer.count)} if answer.count else {})


def reason_of(stop: Stop) -> str:
    return _REASONS[stop]


def usage_of(count: Count) -> dict[str, Any]:
    """Everything read counts as prompt, cached or not."""
    prompt = count.input + count.cache_read + count.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": count.output,
        "total_tokens": prompt + count.output,
        "prompt_tokens_details": {"cached_tokens": count.cache_read},
        "completion_tokens_details": {"reasoning_tokens": count.reasoning},
    }
