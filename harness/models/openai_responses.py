"""One call to a server that speaks OpenAI's Responses API, over the official SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Mapping
from typing import Any

import httpx2
import openai
from openai.types.responses import ResponseStreamEvent

from harness.models.failures import Failure
from harness.models.headers import call_headers
from harness.models.openai import WHOLE_UP_TO, client_for, plain, translated
from harness.models.openai_wire import arguments, estimate, in_words, strict, usage_of
from harness.models.providers import Answer, Provider
from harness.models.schema import without_nulls
from harness.types import Block, Message, ModelRequest, Opaque, Text, ToolResult, ToolUse


def connect(provider: Provider) -> ResponsesAdapter:
    """An adapter for the provider; raises ModelAuthError without a key."""
    return ResponsesAdapter(provider)


class ResponsesAdapter:
    """Nothing is stored at the provider: reasoning comes back encrypted and is sent again with the next turn."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._client = client_for(provider)
        self._unstructured: set[str] = set()

    async def ask(self, model: str, request: ModelRequest) -> Answer:
        """One attempt; a model without structured output is asked once more, with the schema in words."""
        structured = model not in self._unstructured
        try:
            return await self._ask(model, request, structured)
        except Failure as failure:
            if failure.kind != "request" or request.answer_schema is None or not structured:
                raise
            if not any(word in failure.message.lower() for word in ("text.format", "json_schema", "structured")):
                raise
        self._unstructured.add(model)
        return await self._ask(model, request, False)

    async def aclose(self) -> None:
        await self._client.close()

    async def _ask(self, model: str, request: ModelRequest, structured: bool) -> Answer:
        body = request_body(request, model, self.provider.name, structured)
        create, headers = self._client.responses.create, call_headers(request)
        try:
            if request.max_output_tokens > WHOLE_UP_TO:
                async with await create(**body, stream=True, extra_headers=headers) as events:
                    response = await _last(events)
            else:
                response = plain(await create(**body, extra_headers=headers))
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise translated(error, self.provider) from error
        return answer_of(response, request, body, self.provider.name)


async def _last(events: AsyncIterable[ResponseStreamEvent]) -> dict[str, Any]:
    """The whole response, which the stream's last event carries; raises Failure when there is none."""
    async for event in events:
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            return plain(event.response)
    raise Failure("transient", "the answer broke off before its end")


def request_body(request: ModelRequest, model: str, provider: str, structured: bool = True) -> dict[str, Any]:
    """The request as the API takes it; equal values give equal bytes."""
    system = [block.text for block in request.system if block.text]
    if request.answer_schema is not None and not structured:
        system.append(in_words(request.answer_schema))
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in request.messages for item in _items(message, provider)],
        "max_output_tokens": request.max_output_tokens,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    if system:
        body["instructions"] = "\n\n".join(system)
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
                "strict": False,
            }
            for tool in request.tools
        ]
    if request.answer_schema is not None and structured:
        body["text"] = {"format": {"type": "json_schema", "name": "answer", **strict(request.answer_schema)}}
    return body


def answer_of(response: Mapping[str, Any], request: ModelRequest, body: Mapping[str, Any], provider: str) -> Answer:
    """The response as an Answer; raises Failure for one that failed."""
    usage, known = usage_of(response.get("usage"))
    if response.get("status") == "failed":
        error = response.get("error") or {}
        soon = error.get("code") in ("server_error", "rate_limit_exceeded")
        raise Failure(
            "transient" if soon else "request",
            error.get("message") or "the response failed",
            spent=usage if known else None,
        )
    content: list[Block] = []
    refused = False
    for item in response.get("output") or ():
        if item["type"] == "message":
            for part in item.get("content") or ():
                refused = refused or part["type"] == "refusal"
                text = part.get("text") or part.get("refusal") or ""
                content.append(Text(text=without_nulls(text, request.answer_schema) if request.answer_schema else text))
        elif item["type"] == "function_call":
            given = arguments(item["name"], item.get("arguments"), usage if known else None)
            content.append(ToolUse(id=item["call_id"], name=item["name"], input=given))
        else:
            content.append(Opaque(provider=provider, block=dict(item)))
    calls = any(isinstance(block, ToolUse) for block in content)
    reason = (response.get("incomplete_details") or {}).get("reason")
    stop = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}.get(
        str(reason), "tool_use" if calls else "end"
    )
    return Answer(
        content=tuple(content),
        stop_reason="refusal" if refused else stop,
        usage=usage if known else estimate(body, content),
        usage_known=known,
        model=response.get("model"),
        request_id=response.get("id"),
    )


def _items(message: Message, provider: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    kind = "output_text" if message.role == "assistant" else "input_text"
    for block in message.content:
        if isinstance(block, Text):
            if block.text:
                items.append({"role": message.role, "content": [{"type": kind, "text": block.text}]})
        elif isinstance(block, ToolUse):
            written = json.dumps(block.input, ensure_ascii=False)
            items.append({"type": "function_call", "call_id": block.id, "name": block.name, "arguments": written})
        elif isinstance(block, ToolResult):
            output = ("Error: " if block.is_error else "") + block.content
            items.append({"type": "function_call_output", "call_id": block.id, "output": output})
        elif block.provider == provider:
            items.append(dict(block.block))
    return items
