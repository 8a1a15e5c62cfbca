"""A streamed Chat Completion put together again, for answers too long to wait for in silence."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from openai.types.chat import ChatCompletionChunk

from harness.models.failures import Failure


async def assembled(chunks: AsyncIterable[ChatCompletionChunk]) -> dict[str, Any]:
    """The completion that the chunks add up to; raises Failure when they end without a reason to finish."""
    head: dict[str, Any] = {}
    text: list[str] = []
    refusal: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    reason: str | None = None
    usage: dict[str, Any] | None = None
    async for chunk in chunks:
        head = head or {"id": chunk.id, "model": chunk.model}
        if chunk.usage is not None:
            usage = chunk.usage.to_dict(mode="json", warnings=False)
        for choice in chunk.choices or ():
            reason = choice.finish_reason or reason
            delta = choice.delta
            if delta is None:
                continue
            text.append(delta.content or "")
            refusal.append(delta.refusal or "")
            for number, part in enumerate(delta.tool_calls or ()):
                place = number if part.index is None else part.index
                call = calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
                call["id"] = part.id or call["id"]
                if part.function is not None:
                    call["name"] = part.function.name or call["name"]
                    call["arguments"] += part.function.arguments or ""
    if reason is None:
        raise Failure("transient", "the answer broke off before its end")
    message: dict[str, Any] = {"content": "".join(text), "refusal": "".join(refusal)}
    message["tool_calls"] = [
        {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
        for _, call in sorted(calls.items())
    ]
    return {**head, "choices": [{"message": message, "finish_reason": reason}], "usage": usage}
