"""Model calls in OpenTelemetry's words: the GenAI semantic conventions' attributes (1.41), and the client that traces.

Input tokens include those read from and written to a cache, as the conventions have it. Prompts and answers are in no
span unless `tracing > content` asks for them; then in the conventions' own JSON shapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.budget import Meter
from harness.protocols import ModelClient
from harness.spans import ISSUE, PHASE, RUN, TASK, Attribute, Span, Spans
from harness.types import Block, Message, ModelReply, ModelRequest, Text, ToolResult, ToolUse, Usage

PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "moonshot": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Our names of providers → the conventions'; others are called the same."""
REASONS = {"end": "stop", "tool_use": "tool_call", "max_tokens": "length", "refusal": "content_filter"}
"""Our stop reasons → the conventions' finish reasons."""


class TracedModelClient:
    """A ModelClient whose calls are spans; their retries and fallbacks are events in them (see `client.py`)."""

    def __init__(self, inner: ModelClient, spans: Spans) -> None:
        self.inner, self._spans = inner, spans
        self.scripted = inner.scripted

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        """See ModelClient."""
        provider, _, model = request.pool.models[0].partition("/")
        attributes = {
            **called("chat", provider, model),
            "gen_ai.request.max_tokens": request.max_output_tokens,
            "gen_ai.conversation.id": request.affinity,
            "gen_ai.output.type": "json" if request.answer_schema is not None else None,
            RUN: request.run_id,
            ISSUE: request.issue_id,
            TASK: request.task_id,
            PHASE: request.phase or None,
            "harness.tier": request.pool.tier,
            "harness.attempt": request.attempt,
            "harness.turn": request.turn,
        }
        with self._spans.span(f"chat {model}", attributes, "client") as span:
            if self._spans.content:
                span.set(asked_content(request))
            if self._spans.propagate:
                request = request.model_copy(update=self._spans.carrier())
            reply = await self.inner.complete(request, meter)
            self._answered(span, reply)
        return reply

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _answered(self, span: Span, reply: ModelReply) -> None:
        usage = reply.call.usage
        answered_by = reply.model.partition("/")[2]
        span.set(
            {
                **spent(usage),
                "gen_ai.response.model": str(reply.metadata.get("served_by") or answered_by),
                "gen_ai.response.id": _text(reply.metadata.get("request_id")),
                "gen_ai.response.finish_reasons": (REASONS.get(reply.stop_reason, reply.stop_reason),),
                "harness.model": reply.model,
                "harness.usage.estimated": True if reply.metadata.get("usage_estimated") else None,
                "harness.scripted": True if self.scripted else None,
            }
        )
        if self._spans.content:
            parts = [_part(block) for block in reply.content]
            reason = REASONS.get(reply.stop_reason, reply.stop_reason)
            said = [{"role": "assistant", "parts": parts, "finish_reason": reason}]
            span.set({"gen_ai.output.messages": _json(said)})


def called(operation: str, provider: str, model: str) -> dict[str, Attribute | None]:
    """Which operation is asked of whom. `gen_ai.system` is what `gen_ai.provider.name` was called until 1.36."""
    name = PROVIDERS.get(provider, provider)
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": name,
        "gen_ai.system": name,
        "gen_ai.request.model": model,
    }


def spent(usage: Usage) -> dict[str, Attribute | None]:
    """Tokens, and the price where it is known."""
    priced = usage.requests > 0 and not usage.unpriced_requests
    return {
        "gen_ai.usage.input_tokens": usage.total_input,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "harness.cost.usd": float(usage.cost_usd) if priced else None,
        "harness.requests": usage.requests,
    }


def asked_content(request: ModelRequest) -> dict[str, Attribute | None]:
    """System prompt and messages in the conventions' JSON shapes."""
    system = [{"type": "text", "content": text.text} for text in request.system]
    return {
        "gen_ai.system_instructions": _json(system) if system else None,
        "gen_ai.input.messages": _json([_message(message) for message in request.messages]),
    }


def _message(message: Message) -> dict[str, Any]:
    only_results = all(isinstance(block, ToolResult) for block in message.content)
    role = "tool" if only_results and message.content else message.role
    return {"role": role, "parts": [_part(block) for block in message.content]}


def _part(block: Block) -> Mapping[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "content": block.text}
    if isinstance(block, ToolUse):
        return {"type": "tool_call", "id": block.id, "name": block.name, "arguments": block.input}
    if isinstance(block, ToolResult):
        return {"type": "tool_call_response", "id": block.id, "response": block.content}
    return {"type": str(block.block.get("type", "opaque"))}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: object) -> str | None:
    return str(value) if value else None
