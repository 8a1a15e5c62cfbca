"""Our values ↔ the JSON of Anthropic's Messages API. Pure; the SDK lives next door in `anthropic`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harness.models.providers import Answer
from harness.models.schema import closed
from harness.types import Block, Message, ModelRequest, Opaque, Text, Tool, ToolResult, ToolUse, Usage

BREAKPOINTS = 4
"""Cache breakpoints the API takes in one request."""
ANSWER_TOOL = "answer"
"""Name of the forced tool that carries a structured answer where the model has no structured output."""

_EDITOR = "str_replace_based_edit_tool"
_TRAINED = {
    "bash": {"type": "bash_20250124", "name": "bash"},
    "text_editor": {"type": "text_editor_20250728", "name": _EDITOR},
}
_CLAUDE_4 = re.compile(r"claude-(?:[a-z]+-)?(?:[4-9]|\d\d)(?:[-.@]|$)|claude-[a-z]+-(?:[4-9]|\d\d)")
"""Claude models from version 4 on are trained on both tool types."""

_STOPS: dict[str | None, Literal["end", "tool_use", "max_tokens", "refusal", "other"]] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}


def request_body(
    request: ModelRequest, model: str, provider: str, ttl: str = "5m", structured: bool = True
) -> dict[str, Any]:
    """The request as the API takes it. Equal values give equal bytes, so that a shared prefix stays one.

    `structured` false asks for a structured answer through a forced tool. A tool session (one that will go on) also
    gets a moving breakpoint at its end, so that each turn reads what the last one wrote; a single question does not:
    writing costs more than reading saves.
    """
    system = [_text(block) for block in request.system if block.text]
    tools = [_tool(tool, model) for tool in request.tools]
    messages = [_message(message, provider, request.tools, model) for message in request.messages]
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_output_tokens}
    if request.answer_schema is not None:
        if structured:
            body["output_config"] = {"format": {"type": "json_schema", "schema": closed(request.answer_schema)}}
        else:
            tools.append(
                {"name": ANSWER_TOOL, "description": "Give your answer.", "input_schema": request.answer_schema}
            )
            body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    if tools:
        body["tools"] = tools
    if system:
        body["system"] = system
    body["messages"] = messages
    _mark(request, system, messages, ttl)
    return body


def answer_of(
    message: Mapping[str, Any], provider: str, tools: Sequence[Tool], request_id: str | None = None
) -> Answer:
    """The API's message as an Answer; blocks we have no noun for are kept whole, to go back as they came."""
    content: list[Block] = []
    stop = _STOPS.get(message.get("stop_reason"), "other")
    for block in message.get("content") or ():
        if block["type"] == "text":
            content.append(Text(text=block["text"]))
        elif block["type"] == "tool_use" and block["name"] == ANSWER_TOOL and all(t.name != ANSWER_TOOL for t in tools):
            content.append(Text(text=json.dumps(block["input"], ensure_ascii=False)))
            stop = "end" if stop == "tool_use" else stop
        elif block["type"] == "tool_use":
            content.append(ToolUse(id=block["id"], name=_our_name(block["name"], tools), input=block["input"] or {}))
        else:
            content.append(Opaque(provider=provider, block=dict(block)))
    return Answer(
        content=tuple(content),
        stop_reason=stop,
        usage=usage_of(message.get("usage") or {}),
        model=message.get("model"),
        request_id=request_id,
    )


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Token counts of one call; without the split by lifetime, everything written counts as 5 minutes."""
    written = usage.get("cache_creation_input_tokens") or 0
    split = usage.get("cache_creation") or {}
    hour = split.get("ephemeral_1h_input_tokens") or 0
    return Usage(
        requests=1,
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        cache_read_tokens=usage.get("cache_read_input_tokens") or 0,
        cache_write_5m_tokens=max(0, written - hour),
        cache_write_1h_tokens=hour,
    )


def _text(block: Text) -> dict[str, Any]:
    return {"type": "text", "text": block.text}


def _tool(tool: Tool, model: str) -> dict[str, Any]:
    if tool.trained_as in _TRAINED and _CLAUDE_4.search(model):
        return dict(_TRAINED[tool.trained_as])
    return {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}


def _our_name(name: str, tools: Sequence[Tool]) -> str:
    if any(tool.name == name for tool in tools):
        return name
    kinds = {trained["name"]: kind for kind, trained in _TRAINED.items()}
    return next((tool.name for tool in tools if tool.trained_as and tool.trained_as == kinds.get(name)), name)


def _their_name(name: str, tools: Sequence[Tool], model: str) -> str:
    return next((str(_tool(tool, model)["name"]) for tool in tools if tool.name == name), name)


def _message(message: Message, provider: str, tools: Sequence[Tool], model: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for block in message.content:
        if isinstance(block, Text):
            if block.text.strip():  # the API refuses empty text
                content.append(_text(block))
        elif isinstance(block, ToolUse):
            name = _their_name(block.name, tools, model)
            content.append({"type": "tool_use", "id": block.id, "name": name, "input": block.input})
        elif isinstance(block, ToolResult):
            result = {"type": "tool_result", "tool_use_id": block.id, "content": block.content or "(no output)"}
            content.append(result | ({"is_error": True} if block.is_error else {}))
        elif block.provider == provider:  # another provider's own blocks mean nothing here
            content.append(dict(block.block))
    return {"role": message.role, "content": content or [{"type": "text", "text": "(nothing)"}]}


def _mark(request: ModelRequest, system: list[dict[str, Any]], messages: list[dict[str, Any]], ttl: str) -> None:
    """Set `cache_control` where the request asks for it and, in a tool session, at the end of the last user turns."""
    asked = [wire for block, wire in zip((b for b in request.system if b.text), system, strict=True) if block.cache]
    for message, wired in zip(request.messages, messages, strict=True):
        texts = [block for block in message.content if isinstance(block, Text) and block.text.strip()]
        wires = [wire for wire in wired["content"] if wire["type"] == "text"]
        asked += [wire for block, wire in zip(texts, wires, strict=False) if block.cache]
    moving: list[dict[str, Any]] = []
    if request.tools:
        # The second to last too: a turn with many tool results lies beyond the 20 blocks the cache looks back over.
        ends = [wired["content"][-1] for wired in messages if wired["role"] == "user"]
        moving = [end for end in reversed(ends[-2:]) if not any(end is wire for wire in asked)]
    last = moving[:1]
    chosen = asked[: BREAKPOINTS - len(last)] + last
    chosen += moving[1 : 1 + BREAKPOINTS - len(chosen)]
    for wire in chosen:
        wire["cache_control"] = {"type": "ephemeral"} | ({"ttl": "1h"} if ttl == "1h" else {})
