"""One call to a server that speaks Anthropic's Messages API, over the official SDK."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2

from harness.models.anthropic_wire import answer_of, request_body, usage_of
from harness.models.failures import Failure, failure_of
from harness.models.headers import call_headers
from harness.models.providers import Answer, Provider
from harness.types import ModelRequest, Usage


def connect(provider: Provider) -> AnthropicAdapter:
    """An adapter for the provider; raises ModelAuthError when there is no key and no profile of the SDK's either."""
    return AnthropicAdapter(provider)


class AnthropicAdapter:
    """Always streams: a long answer never looks like a dead connection, and a stream that dies has told its cost."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._unstructured: set[str] = set()
        """Models that refused structured output; they get the forced tool."""
        base_url = provider.base_url.removesuffix("/v1")
        # The SDK's own spans would double ours, and send our trace context to the provider, whom nobody asked to.
        common: dict[str, Any] = {
            "base_url": base_url,
            "max_retries": 0,
            "timeout": httpx2.Timeout(provider.timeout, connect=10.0),
            "open_telemetry": False,
        }
        if provider.api_key is None and provider.official:
            # The SDK may know a profile or workload identity of its own.
            self._client = anthropic.AsyncAnthropic(**common)
            if self._client.credentials is not None:
                return
        self._client = anthropic.AsyncAnthropic(api_key=provider.key, **common)

    async def ask(self, model: str, request: ModelRequest) -> Answer:
        """One attempt; a model without structured output is asked once more, through a forced tool."""
        structured = model not in self._unstructured
        try:
            return await self._ask(model, request, structured)
        except Failure as failure:
            if request.answer_schema is None or not structured or not _refuses_structure(failure):
                raise
        self._unstructured.add(model)
        return await self._ask(model, request, False)

    async def aclose(self) -> None:
        await self._client.close()

    async def _ask(self, model: str, request: ModelRequest, structured: bool) -> Answer:
        body = request_body(request, model, self.provider.name, self.provider.cache_ttl, structured)
        begun: Usage | None = None
        try:
            async with self._client.messages.stream(**body, extra_headers=call_headers(request)) as stream:
                async for event in stream:
                    if event.type == "message_start":
                        begun = usage_of(event.message.usage.to_dict())
                message = await stream.get_final_message()
                request_id = stream.response.headers.get("request-id")
        except anthropic.APITimeoutError as error:
            raise Failure("timeout", f"no answer within {self.provider.timeout:g} s", spent=begun) from error
        except anthropic.APIConnectionError as error:
            raise Failure(
                "transient", f"cannot reach {self.provider.base_url}: {error.__cause__}", spent=begun
            ) from error
        except anthropic.APIStatusError as error:
            said = error.api_message or _plain(error.body)
            raise failure_of(error.status_code, said, error.response.headers, error.type or "", begun) from error
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise Failure("transient", f"the answer broke off: {error}", spent=begun) from error
        if message.stop_reason is None:
            raise Failure("transient", "the answer broke off before its end", spent=begun)
        return answer_of(message.to_dict(mode="json"), self.provider.name, request.tools, request_id)


def _refuses_structure(failure: Failure) -> bool:
    words = ("output_config", "output_format", "structured output", "json_schema", "extra inputs", "extra fields")
    return failure.kind == "request" and any(word in failure.message.lower() for word in words)


def _plain(body: object) -> str:
    return body if isinstance(body, str) else "" if body is None else str(body)
