"""Two-way translation among the three wire formats, whole and streamed.

`Translation` is made for one request: it remembers the client's prompt, because the way back needs it (which tools
take free text, whether usage was asked for).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from harness.config.targets import WireName
from harness.gateway.refusal import Refusal
from harness.gateway.translate import chat, chat_answer, messages, messages_answer, responses, responses_answer
from harness.gateway.translate.neutral import Answer, Prompt, events_of
from harness.gateway.translate.stream_in import read_stream
from harness.gateway.translate.stream_out import WRITERS

_READ: dict[WireName, Callable[[Mapping[str, Any]], Prompt]] = {
    "messages": messages.read_request,
    "chat": chat.read_request,
    "responses": responses.read_request,
}
_WRITE: dict[WireName, Callable[[Prompt], dict[str, Any]]] = {
    "messages": messages.write_request,
    "chat": chat.write_request,
    "responses": responses.write_request,
}
_READ_ANSWER: dict[WireName, Callable[[Mapping[str, Any]], Answer]] = {
    "messages": messages_answer.read_answer,
    "chat": chat_answer.read_answer,
    "responses": responses_answer.read_answer,
}


_HOLDS: dict[WireName, str] = {"messages": "content", "chat": "choices", "responses": "output"}
"""The list that every whole answer has."""


class Translation:
    """From a client's request in `client` format to a provider's `provider` format, and the answer back.

    Raises Refusal naming the field when the request cannot be said in the provider's format.
    """

    def __init__(self, client: WireName, provider: WireName, body: Mapping[str, Any], model: str) -> None:
        self.client, self.provider = client, provider
        self._prompt = _READ[client](body)
        self.dropped = self._prompt.dropped
        self.request = orjson.dumps(_WRITE[provider](replace(self._prompt, model=model)))

    def reply(self, body: bytes) -> bytes:
        """A whole successful answer, in the client's format; raises Refusal (502) for one that cannot be read."""
        answer = self._answer(body)
        if self.client == "messages":
            return orjson.dumps(messages_answer.write_answer(answer))
        if self.client == "chat":
            return orjson.dumps(chat_answer.write_answer(answer))
        return orjson.dumps(responses_answer.write_answer(answer, self._prompt.tools))

    def reply_as_stream(self, body: bytes) -> bytes:
        """The same as the events of a stream, for a client that asked for one of a provider that has none."""
        writer = WRITERS[self.client](self._prompt)
        return b"".join(map(writer.write, events_of(self._answer(body))))

    def _answer(self, body: bytes) -> Answer:
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Refusal(502, "the provider's answer is not JSON", code="upstream_nonsense") from None
        if not isinstance(data, dict):
            raise Refusal(502, "the provider's answer is no JSON object", code="upstream_nonsense")
        if data.get("error") and not data.get(_HOLDS[self.provider]):  # some gateways report errors with status 200
            raise Refusal(502, provider_message(body), code="upstream_error")
        held = data.get(_HOLDS[self.provider])
        if not isinstance(held, list) or (self.provider == "chat" and not held):
            raise Refusal(502, "the provider's answer is not in its own format", code="upstream_nonsense")
        try:
            return _READ_ANSWER[self.provider](data)
        except (AttributeError, TypeError, KeyError):
            raise Refusal(502, "the provider's answer is not in its own format", code="upstream_nonsense") from None

    async def stream(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A provider's stream of whole events, in the client's format."""
        writer = WRITERS[self.client](self._prompt)
        async for events in read_stream(self.provider, chunks):
            data = b"".join(map(writer.write, events))
            if data:
                yield data


def error_in(client: WireName, body: bytes, status: int) -> bytes:
    """A provider's error, whatever its form, in the client's format, and with what its clients go by."""
    message, code = provider_message(body), _code_in(body)
    if message.lower().startswith(TOO_LONG):
        code = code or TOO_LONG_CODE
    elif code == TOO_LONG_CODE and client == "messages":
        message = f"{TOO_LONG}: {message}"
    return orjson.dumps(Refusal(status, message, code=code).body(client))


TOO_LONG, TOO_LONG_CODE = "prompt is too long", "context_length_exceeded"
"""By which clients of Anthropic and of OpenAI know that they have to shorten the conversation, and do."""


def _code_in(body: bytes) -> str | None:
    try:
        error = orjson.loads(body)["error"]
        return error["code"] if isinstance(error["code"], str) else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def provider_message(body: bytes) -> str:
    """What a provider's error body says; the beginning of one that is not JSON."""
    try:
        return messages_answer.error_text(orjson.loads(body))[0]
    except orjson.JSONDecodeError:
        return body[:300].decode("utf-8", "replace").strip() or "the provider gave no reason"
