"""Answers in OpenAI Responses ↔ the common ground."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from harness.gateway.translate import chat_answer
from harness.gateway.translate.messages import arguments_object
from harness.gateway.translate.neutral import (
    Answer,
    Call,
    Count,
    Stop,
    Text,
    Thought,
    Tool,
)


def read_answer(body: Mapping[str, Any]) -> Answer:
    """A whole Responses reply."""
    parts: list[Text | Call | Thought] = []
    refused = False
    for item in body.get("output") or ():
        kind = item.get("type")
        if kind == "message":
            for part in item.get("content") or ():
                refused = refused or part.get("type") == "refusal"
                parts.append(Text(str(part.get("text") or part.get("refusal") or "")))
        elif kind == "reasoning":
            words = [str(part.get("text", "")) for part in item.get("summary") or ()]
            parts += [Thought("\n".join(words))] if words else []
        elif kind == "function_call":
            parts.append(
                Call(str(item.get("call_id", "")), str(item.get("name", "")), str(item.get("arguments") or "{}"))
            )
    called = any(isinstance(part, Call) for part in parts)
    return Answer(
        str(body.get("id", "")),
        str(body.get("model", "")),
        tuple(parts),
        stop_of(body, called, refused),
        count_of(body.get("usage")),
    )


def stop_of(response: Mapping[str, Any], called: bool, refused: bool = False) -> Stop:
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return "refusal" if reason == "content_filter" else "length"
    return "refusal" if refused else "tool" if called else "end"


def count_of(usage: Any) -> Count | None:
    return chat_answer.count_of(usage, "input_tokens", "output_tokens")


def item_of(part: Text | Call | Thought, number: int, response_id: str, tools: Mapping[str, Tool]) -> dict[str, Any]:
    """One finished output item; a call of a custom tool has free text again."""
    if isinstance(part, Text):
        return {
            "type": "message",
            "id": f"msg_{response_id}_{number}",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}],
        }
    if isinstance(part, Thought):
        return {
            "type": "reasoning",
            "id": f"rs_{response_id}_{number}",
            "status": "completed",
            "summary": [{"type": "summary_text", "text": part.text}],
        }
    tool = tools.get(part.name)
    home = {"namespace": tool.namespace} if tool and tool.namespace else {}
    if tool is not None and tool.custom:
        text = arguments_object(part.arguments).get("input", part.arguments)
        return {
            "type": "custom_tool_call",
            "id": f"ctc_{response_id}_{number}",
            "call_id": part.id,
            "name": part.name,
            "input": text if isinstance(text, str) else orjson.dumps(text).decode(),
            "status": "completed",
            **home,
        }
    return {
        "type": "function_call",
        "id": f"fc_{response_id}_{number}",
        "call_id": part.id,
        "name": part.name,
        "arguments": part.arguments,
        "status": "completed",
        **home,
    }


def write_answer(answer: Answer, tools: Iterable[Tool] = ()) -> dict[str, Any]:
    """A whole Responses reply."""
    known = {tool.name: tool for tool in tools}
    output = [item_of(part, number, answer.id, known) for number, part in enumerate(answer.parts)]
    return response_object(answer.id, answer.model, output, answer.stop, answer.count)


def response_object(
    id: str, model: str, output: list[dict[str, Any]], stop: Stop | None, count: Count | None
) -> dict[str, Any]:
    """The `response` object of replies and of stream events; `stop` None: under way."""
    cut = stop in ("length", "refusal")
    details = {"reason": "max_output_tokens" if stop == "length" else "content_filter"} if cut else None
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "output": output,
        "status": "in_progress" if stop is None else "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": details,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if count is None or stop is None else usage_of(count),
    }


def usage_of(count: Count) -> dict[str, Any]:
    """Everything read counts as input, cached or not."""
    read = count.input + count.cache_read + count.cache_write
    return {
        "input_tokens": read,
        "output_tokens": count.output,
        "total_tokens": read + count.output,
        "input_tokens_details": {"cached_tokens": count.cache_read, "cache_write_tokens": count.cache_write},
        "output_tokens_details": {"reasoning_tokens": count.reasoning},
    }
