"""One call to a server that speaks OpenAI's Chat Completions, over the official SDK; any base URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletionStreamOptionsParam

from harness.models.failures import Failure, failure_of
from harness.models.headers import call_headers
from harness.models.openai_stream import assembled
from harness.models.openai_wire import Dialect, answer_of, request_body
from harness.models.providers import Answer, Provider
from harness.types import ModelRequest

WHOLE_UP_TO = 4096
"""Output tokens: a longer answer is streamed, so that it never looks like a dead connection."""
WITH_USAGE: ChatCompletionStreamOptionsParam = {"include_usage": True}


def connect(provider: Provider) -> OpenAIAdapter:
    """An adapter for the provider; raises ModelAuthError without a key."""
    return OpenAIAdapter(provider)


def client_for(provider: Provider) -> openai.AsyncOpenAI:
    """The SDK's client, without retries of its own."""
    timeout = httpx2.Timeout(provider.timeout, connect=10.0)
    return openai.AsyncOpenAI(api_key=provider.key, base_url=provider.base_url, max_retries=0, timeout=timeout)


class OpenAIAdapter:
    """Servers differ in what they take: a refusal that names a parameter is learned from, once for each model."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._client = client_for(provider)
        self._first = Dialect("max_completion_tokens" if provider.official else "max_tokens")
        self._dialects: dict[str, Dialect] = {}

    async def ask(self, model: str, request: ModelRequest) -> Answer:
        """One attempt, and one more for each parameter the server turns out not to take."""
        dialect = self._dialects.get(model, self._first)
        tried = {dialect}
        while True:
            try:
                return await self._ask(model, request, dialect)
            except Failure as failure:
                other = _adapted(dialect, failure)
                if other is None or other in tried:
                    raise
                dialect = self._dialects[model] = other
                tried.add(other)

    async def aclose(self) -> None:
        await self._client.close()

    async def _ask(self, model: str, request: ModelRequest, dialect: Dialect) -> Answer:
        body = request_body(request, model, dialect)
        create, headers = self._client.chat.completions.create, call_headers(request)
        try:
            if dialect.streams and request.max_output_tokens > WHOLE_UP_TO:
                chunks = await create(**body, stream=True, stream_options=WITH_USAGE, extra_headers=headers)
                async with chunks:
                    completion = await assembled(chunks)
            else:
                completion = plain(await create(**body, extra_headers=headers))
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise translated(error, self.provider) from error
        return answer_of(completion, request, body)


def translated(error: openai.OpenAIError | httpx2.HTTPError, provider: Provider) -> Failure:
    """An SDK error as a Failure."""
    if isinstance(error, openai.APITimeoutError):
        return Failure("timeout", f"no answer within {provider.timeout:g} s")
    if isinstance(error, openai.APIConnectionError):
        return Failure("transient", f"cannot reach {provider.base_url}: {error.__cause__ or error}")
    if isinstance(error, openai.APIStatusError):
        body: Any = error.body
        said = body.get("message") if isinstance(body, dict) else body
        said = said if isinstance(said, str) else error.message
        code = error.code if isinstance(error.code, str) else error.type
        return failure_of(error.status_code, said, error.response.headers, code or "")
    return Failure("transient", f"the answer broke off: {error}")


def plain(document: Any) -> dict[str, Any]:
    """The SDK's object as data; raises Failure when the server sent something else (a proxy's page, say)."""
    if not hasattr(document, "to_dict"):
        raise Failure("transient", f"the answer is not JSON: {str(document)[:120]}")
    told: dict[str, Any] = document.to_dict(mode="json", warnings=False)
    return told


def _adapted(dialect: Dialect, failure: Failure) -> Dialect | None:
    """The dialect that the refusal asks for; None when it is about something else."""
    said = failure.message.lower()
    if failure.kind != "request":
        return None
    if dialect.structured and any(word in said for word in ("response_format", "json_schema", "structured output")):
        return replace(dialect, structured=False)
    if dialect.streams and "stream" in said:
        return replace(dialect, streams=False)
    if any(word in said for word in ("unsupported", "unrecognized", "not permitted", "unknown")):
        if dialect.max_tokens == "max_tokens" and "max_completion_tokens" in said:
            return replace(dialect, max_tokens="max_completion_tokens")
        if dialect.max_tokens == "max_completion_tokens" and "max_completion_tokens" in said:
            return replace(dialect, max_tokens="max_tokens")
    return None
