"""Our values ↔ the JSON of OpenAI's Chat Completions, as its many imitators speak it too. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.models.failures import Failure
from harness.models.prompt_cache import openai_parts, tokens_in
from harness.models.providers import Answer
from harness.models.schema import closed, without_nulls
from harness.types import Block, Message, ModelRequest, Text, ToolResult, ToolUse, Usage

_STOPS: dict[str | None, Literal["end", "tool_use", "max_tokens", "refusal", "other"]] = {
    "stop": "end",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


@dataclass(frozen=True)
class Dialect:
    """What a server takes; learned from its refusals."""

    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    structured: bool = True
    """False: the schema stands in the prompt."""
    streams: bool = True
    """Whether long answers can be streamed with their usage at the end."""


def request_body(request: ModelRequest, model: str, dialect: Dialect) -> dict[str, Any]:
    """The request as the API takes it; equal values give equal bytes."""
    system = [block.text for block in request.system if block.text]
    if request.answer_schema is not None and not dialect.structured:
        system.append(in_words(request.answer_schema))
    messages: list[dict[str, Any]] = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    for message in request.messages:
        messages += _messages(message)
    body: dict[str, Any] = {"model": model, "messages": messages, dialect.max_tokens: request.max_output_tokens}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in request.tools
        ]
    if request.answer_schema is not None and dialect.structured:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", **strict(request.answer_schema)},
        }
    return body


def answer_of(completion: Mapping[str, Any], request: ModelRequest, body: Mapping[str, Any]) -> Answer:
    """The completion as an Answer; raises Failure for one without a choice or with unreadable tool arguments."""
    choices = completion.get("choices") or ()
    usage, known = usage_of(completion.get("usage"))
    if not choices:
        raise Failure("nonsense", "the answer holds no choice", spent=usage if known else None)
    message = choices[0].get("message") or {}
    content: list[Block] = []
    if text := message.get("content"):
        content.append(Text(text=without_nulls(text, request.answer_schema) if request.answer_schema else text))
    refused = message.get("refusal")
    if refused and not text:
        content.append(Text(text=refused))
    for number, call in enumerate(message.get("tool_calls") or (), 1):
        function = call.get("function") or {}
        given = arguments(function.get("name", ""), function.get("arguments"), usage if known else None)
        name = call.get("id") or f"call_{request.turn}_{number}"  # some servers send none
        content.append(ToolUse(id=name, name=function["name"], input=given))
    stop = _STOPS.get(choices[0].get("finish_reason"), "other")
    if any(isinstance(block, ToolUse) for block in content) and stop == "end":
        stop = "tool_use"  # some servers say `stop` all the same
    return Answer(
        content=tuple(content),
        stop_reason="refusal" if refused else stop,
        usage=usage if known else estimate(body, content),
        usage_known=known,
        model=completion.get("model"),
        request_id=completion.get("id"),
    )


def usage_of(usage: Mapping[str, Any] | None) -> tuple[Usage, bool]:
    """(counts, whether the server told them). What was cached is part of what OpenAI calls prompt tokens."""
    if not usage or usage.get("prompt_tokens", usage.get("input_tokens")) is None:
        return Usage(requests=1), False
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    total = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    read = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    written = details.get("cache_write_tokens") or 0
    long = (details.get("cache_write_tokens_details") or {}).get("ttl_12h_tokens") or 0
    counts = Usage(
        requests=1,
        input_tokens=max(0, total - read - written),
        output_tokens=usage.get("completion_tokens", usage.get("output_tokens")) or 0,
        cache_read_tokens=read,
        cache_write_5m_tokens=max(0, written - long),
        cache_write_1h_tokens=long,
    )
    return counts, True


def estimate(body: Mapping[str, Any], content: Sequence[Block]) -> Usage:
    """Usage at four characters a token, for servers that tell none."""
    read = sum(tokens_in(part.text) for part in openai_parts(body))
    written = sum(tokens_in(block.model_dump_json()) for block in content)
    return Usage(requests=1, input_tokens=read, output_tokens=written)


def arguments(name: str, written: Any, spent: Usage | None) -> dict[str, Any]:
    """A tool call's arguments; raises Failure when they are no JSON object."""
    if isinstance(written, dict):
        return written  # some servers send the object itself
    try:
        given = json.loads(written or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Failure("nonsense", f"the arguments of '{name}' are no JSON object: {str(written)[:120]}", spent=spent)
    return given


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema under the strict mode's rules: every key required, optional ones nullable."""
    return {"schema": closed(dict(schema), every_key_required=True), "strict": True}


def in_words(schema: Mapping[str, Any]) -> str:
    """What a model without structured output is told."""
    return "Answer with one JSON object that follows this JSON Schema, and nothing else:\n" + json.dumps(schema)


def _messages(message: Message) -> list[dict[str, Any]]:
    texts = [block.text for block in message.content if isinstance(block, Text) and block.text]
    if message.role == "assistant":
        calls = [
            {
                "id": block.id,
                "type": "function",
                "function": {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)},
            }
            for block in message.content
            if isinstance(block, ToolUse)
        ]
        text = "\n".join(texts) or (None if calls else "(nothing)")
        return [{"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})]
    results: list[dict[str, Any]] = [
        # The format has no flag for a failed tool; the words have to say it.
        {"role": "tool", "tool_call_id": block.id, "content": ("Error: " if block.is_error else "") + block.content}
        for block in message.content
        if isinstance(block, ToolResult)
    ]
    return results + ([{"role": "user", "content": "\n\n".join(texts)}] if texts else [])
