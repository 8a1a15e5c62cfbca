"""Server-sent events of the three wire formats → the common ground, one reader each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import orjson

from harness.config.targets import WireName
from harness.gateway.translate import chat_answer, messages_answer, responses_answer
from harness.gateway.translate.neutral import Began, Count, Delta, Ended, Event, Failed, Ping, Stop


class StreamReader(Protocol):
    def feed(self, data: dict[str, Any]) -> Iterator[Event]:
        """The events that one server-sent event means."""

    def end(self) -> Iterator[Event]:
        """What the end of the connection means, when the stream has not said its own end."""


async def read_stream(form: WireName, chunks: AsyncIterator[bytes]) -> AsyncIterator[list[Event]]:
    """Events of each chunk of whole server-sent events, so that what came together goes out together."""
    reader = READERS[form]()
    async for chunk in chunks:
        found = [event for data in _payloads(chunk) for event in reader.feed(data)]
        if found:
            yield found
    last = list(reader.end())
    if last:
        yield last


def _payloads(chunk: bytes) -> Iterator[dict[str, Any]]:
    for block in chunk.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].lstrip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if not data or data == b"[DONE]":
            if block.startswith(b":"):
                yield {"type": "ping"}
            continue
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            yield {"type": "error", "error": {"message": "the provider sent an event that is not JSON"}}
            continue
        if isinstance(payload, dict):
            yield payload


def _failure(data: dict[str, Any]) -> Failed:
    message, code = messages_answer.error_text(data)
    return Failed(message, str(code or "upstream_error"))


_BROKE_OFF = Failed("the provider's stream ended before its answer did", "upstream_broke_off")


class _Parts:
    """Numbers parts in the order in which they begin."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


class MessagesReader:
    def __init__(self) -> None:
        self._count, self._over = Count(), False
        self._stop: Stop = "end"
        self._bare: int | None = None
        """The call whose arguments have not come yet."""

    def feed(self, data: dict[str, Any]) -> Iterator[Event]:
        kind = data.get("type")
        if kind == "content_block_delta":
            yield from self._delta(data.get("index", 0), data.get("delta") or {})
        elif kind == "content_block_start":
            yield from self._start(data.get("index", 0), data.get("content_block") or {})
        elif kind == "content_block_stop":
            if self._bare is not None:  # a call without arguments comes without a delta; other formats say `{}`
                yield Delta("call", self._bare, "{}")
                self._bare = None
        elif kind == "message_start":
            message = data.get("message") or {}
            self._count = messages_answer.count_of(message.get("usage")) or Count()
            yield Began(str(message.get("id", "")), str(message.get("model", "")), self._count)
        elif kind == "message_delta":
            self._stop = messages_answer.stop_of((data.get("delta") or {}).get("stop_reason"))
            last = messages_answer.count_of(data.get("usage")) or Count()
            self._count = Count(
                last.input or self._count.input,
                last.output,
                last.cache_read or self._count.cache_read,
                last.cache_write or self._count.cache_write,
            )
        elif kind == "message_stop":
            self._over = True
            yield Ended(self._stop, self._count)
        elif kind == "ping":
            yield Ping()
        elif kind == "error":
            self._over = True
            yield _failure(data)

    def _start(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        if block.get("type") != "tool_use":
            return
        given = block.get("input")  # whole already, from some servers
        text = orjson.dumps(given).decode() if given else ""
        self._bare = None if given else index
        yield Delta("call", index, text, str(block.get("id", "")), str(block.get("name", "")))

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[Event]:
        kind = delta.get("type")
        if kind == "text_delta":
            yield Delta("text", index, str(delta.get("text", "")))
        elif kind == "input_json_delta":
            text = str(delta.get("partial_json", ""))
            self._bare = None if text else self._bare
            yield Delta("call", index, text)
        elif kind == "thinking_delta":
            yield Delta("thought", index, str(delta.get("thinking", "")))

    def end(self) -> Iterator[Event]:
        if not self._over:
            yield _BROKE_OFF


class ChatReader:
    def __init__(self) -> None:
        self._parts, self._began, self._last, self._over = _Parts(), False, ("", 0), False
        self._stop: Stop | None = None
        self._count: Count | None = None
        self._called = False

    def feed(self, data: dict[str, Any]) -> Iterator[Event]:
        if data.get("type") == "ping":
            yield Ping()
            return
        if data.get("error"):
            self._over = True
            yield _failure(data)
            return
        if not self._began:
            self._began = True
            yield Began(str(data.get("id", "")), str(data.get("model", "")))
        self._count = chat_answer.count_of(data.get("usage")) or self._count
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        yield from self._delta(choice.get("delta") or {})
        if choice.get("finish_reason"):
            self._stop = chat_answer.stop_of(choice["finish_reason"])

    def _delta(self, delta: dict[str, Any]) -> Iterator[Event]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield Delta("thought", self._index("thought"), thought)
        text = delta.get("content") or delta.get("refusal")
        if isinstance(text, str) and text:
            yield Delta("text", self._index("text"), text)
        for call in delta.get("tool_calls") or ():
            inner, number = call.get("function") or {}, call.get("index", 0)
            self._called, self._last = True, ("call", number)
            yield Delta(
                "call",
                self._parts.number(("call", number)),
                str(inner.get("arguments") or ""),
                str(call.get("id") or ""),
                str(inner.get("name") or ""),
            )

    def _index(self, kind: str) -> int:
        """Text after something else is a new part."""
        if self._last[0] != kind:
            self._last = (kind, self._last[1] + 1)
        return self._parts.number(self._last)

    def end(self) -> Iterator[Event]:
        if self._over:
            return
        if self._stop is None:
            yield _BROKE_OFF
        else:
            yield Ended("tool" if self._stop == "end" and self._called else self._stop, self._count)


class ResponsesReader:
    def __init__(self) -> None:
        self._parts, self._called, self._refused, self._over = _Parts(), False, False, False

    def feed(self, data: dict[str, Any]) -> Iterator[Event]:
        kind = str(data.get("type"))
        item = data.get("output_index", 0)
        if kind == "response.output_text.delta" or kind == "response.refusal.delta":
            self._refused = self._refused or kind == "response.refusal.delta"
            yield Delta("text", self._parts.number((item, "text")), str(data.get("delta", "")))
        elif kind == "response.function_call_arguments.delta":
            yield Delta("call", self._parts.number((item, "call")), str(data.get("delta", "")))
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            yield Delta("thought", self._parts.number((item, "thought")), str(data.get("delta", "")))
        elif kind == "response.output_item.added" and (data.get("item") or {}).get("type") == "function_call":
            self._called = True
            call = data["item"]
            yield Delta(
                "call", self._parts.number((item, "call")), "", str(call.get("call_id", "")), str(call.get("name", ""))
            )
        elif kind == "response.created":
            response = data.get("response") or {}
            yield Began(str(response.get("id", "")), str(response.get("model", "")))
        elif kind in ("response.completed", "response.incomplete"):
            self._over = True
            response = data.get("response") or {}
            yield Ended(
                responses_answer.stop_of(response, self._called, self._refused),
                responses_answer.count_of(response.get("usage")),
            )
        elif kind == "response.failed":
            self._over = True
            yield replace(_failure(data.get("response") or {}))
        elif kind == "error":
            self._over = True
            yield _failure(data)
        elif kind in ("ping", "keepalive"):
            yield Ping()

    def end(self) -> Iterator[Event]:
        if not self._over:
            yield _BROKE_OFF


READERS: dict[WireName, type[StreamReader]] = {
    "messages": MessagesReader,
    "chat": ChatReader,
    "responses": ResponsesReader,
}
