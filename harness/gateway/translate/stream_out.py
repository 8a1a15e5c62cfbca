"""The common ground → server-sent events of the three wire formats, one writer each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from harness.config.targets import WireName
from harness.gateway.refusal import Refusal
from harness.gateway.translate import chat_answer, messages, messages_answer, responses_answer
from harness.gateway.translate.neutral import Began, Call, Count, Delta, Ended, Event, Failed, Prompt, Text, Thought


class StreamWriter(Protocol):
    def write(self, event: Event) -> bytes:
        """The server-sent events that say this; may be none."""


def _named(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


class MessagesWriter:
    """One block is open at a time, as Messages wants it."""

    def __init__(self, prompt: Prompt) -> None:
        self._part: int | None = None
        self._kind, self._block = "", -1

    def write(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._open(event) + self._delta(event)
        if isinstance(event, Began):
            message: dict[str, Any] = {
                "id": event.id,
                "type": "message",
                "role": "assistant",
                "model": event.model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": messages_answer.usage_of(event.count),
            }
            return _named("message_start", {"type": "message_start", "message": message})
        if isinstance(event, Ended):
            delta = {
                "type": "message_delta",
                "delta": {"stop_reason": messages_answer.reason_of(event.stop), "stop_sequence": None},
                "usage": messages_answer.usage_of(event.count),
            }
            return self._close() + _named("message_delta", delta) + _named("message_stop", {"type": "message_stop"})
        if isinstance(event, Failed):
            return Refusal(502, event.message, code=event.code).event("messages")
        return _named("ping", {"type": "ping"})

    def _open(self, event: Delta) -> bytes:
        if event.index == self._part:
            return b""
        before = self._close()
        self._part, self._kind = event.index, event.kind
        self._block += 1
        block: dict[str, Any] = {"type": "text", "text": ""}
        if event.kind == "call":
            block = {"type": "tool_use", "id": event.call_id, "name": event.name, "input": {}}
        elif event.kind == "thought":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        start = {"type": "content_block_start", "index": self._block, "content_block": block}
        return before + _named("content_block_start", start)

    def _delta(self, event: Delta) -> bytes:
        if not event.text:
            return b""
        delta = {
            "text": {"type": "text_delta", "text": event.text},
            "thought": {"type": "thinking_delta", "thinking": event.text},
            "call": {"type": "input_json_delta", "partial_json": event.text},
        }[event.kind]
        return _named("content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _close(self) -> bytes:
        if self._part is None:
            return b""
        self._part = None
        signed = b""
        if self._kind == "thought":
            delta = {"type": "signature_delta", "signature": messages.FOREIGN_SIGNATURE}
            signed = _named(
                "content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta}
            )
        return signed + _named("content_block_stop", {"type": "content_block_stop", "index": self._block})


class ChatWriter:
    def __init__(self, prompt: Prompt) -> None:
        self._usage = prompt.usage_in_stream
        self._head: dict[str, Any] = {}
        self._calls: dict[int, int] = {}

    def write(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._chunk(self._delta(event)) if event.text or event.name else b""
        if isinstance(event, Began):
            self._head = {
                "id": event.id,
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": event.model,
            }
            return self._chunk({"role": "assistant", "content": ""})
        if isinstance(event, Ended):
            usage = {**self._head, "choices": [], "usage": chat_answer.usage_of(event.count or Count())}
            tail = b"data: " + orjson.dumps(usage) + b"\n\n" if self._usage else b""
            return self._chunk({}, chat_answer.reason_of(event.stop)) + tail + b"data: [DONE]\n\n"
        if isinstance(event, Failed):
            return Refusal(502, event.message, code=event.code).event("chat")
        return b": ping\n\n"

    def _delta(self, event: Delta) -> dict[str, Any]:
        if event.kind == "text":
            return {"content": event.text}
        if event.kind == "thought":
            return {"reasoning_content": event.text}
        first = event.index not in self._calls
        number = self._calls.setdefault(event.index, len(self._calls))
        row: dict[str, Any] = {"index": number, "function": {"arguments": event.text}}
        if first:
            row |= {"id": event.call_id, "type": "function", "function": {"name": event.name, "arguments": event.text}}
        return {"tool_calls": [row]}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return b"data: " + orjson.dumps({**self._head, "choices": [choice]}) + b"\n\n"


class ResponsesWriter:
    """Each part is an output item that is added, filled and done before the next."""

    def __init__(self, prompt: Prompt) -> None:
        self._tools = {tool.name: tool for tool in prompt.tools}
        self._id = self._model = ""
        self._number = 0
        self._part: int | None = None
        self._kind, self._call = "", ("", "")
        self._text: list[str] = []
        self._output: list[dict[str, Any]] = []

    def write(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._open(event) + self._delta(event)
        if isinstance(event, Began):
            return self._begin(event)
        if isinstance(event, Ended):
            closing = self._close()
            response = responses_answer.response_object(
                self._id, self._model, self._output, event.stop, event.count or Count()
            )
            name = "response.completed" if response["status"] == "completed" else "response.incomplete"
            return closing + self._event(name, response=response)
        if isinstance(event, Failed):
            begun = b"" if self._number else self._begin(Began("", ""))
            response = responses_answer.response_object(self._id, self._model, self._output, None, None)
            error = {"code": event.code, "message": event.message}
            return begun + self._event("response.failed", response=response | {"status": "failed", "error": error})
        return b": ping\n\n"

    def _begin(self, event: Began) -> bytes:
        self._id, self._model = event.id or "resp", event.model
        response = responses_answer.response_object(self._id, self._model, [], None, None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _event(self, kind: str, /, **data: Any) -> bytes:
        self._number += 1
        return _named(kind, {"type": kind, "sequence_number": self._number - 1, **data})

    def _open(self, event: Delta) -> bytes:
        if event.index == self._part:
            return b""
        before = self._close()
        self._part, self._kind, self._text, self._call = event.index, event.kind, [], (event.call_id, event.name)
        item, at = self._item(), self._at()
        if event.kind == "text":
            begun = item | {"content": [], "status": "in_progress"}
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            return (
                before
                + self._event("response.output_item.added", output_index=at["output_index"], item=begun)
                + (self._event("response.content_part.added", **at, content_index=0, part=part))
            )
        begun = item | {"status": "in_progress"}
        if event.kind == "thought":
            begun |= {"summary": []}
            return (
                before
                + self._event("response.output_item.added", output_index=at["output_index"], item=begun)
                + (
                    self._event(
                        "response.reasoning_summary_part.added",
                        **at,
                        summary_index=0,
                        part={"type": "summary_text", "text": ""},
                    )
                )
            )
        begun |= {"input": ""} if self._custom else {"arguments": ""}
        return before + self._event("response.output_item.added", output_index=at["output_index"], item=begun)

    def _delta(self, event: Delta) -> bytes:
        if not event.text:
            return b""
        self._text.append(event.text)
        if self._kind == "text":
            return self._event(
                "response.output_text.delta", **self._at(), content_index=0, delta=event.text, logprobs=[]
            )
        if self._kind == "thought":
            return self._event("response.reasoning_summary_text.delta", **self._at(), summary_index=0, delta=event.text)
        if self._custom:  # free text is inside JSON that is not complete yet
            return b""
        return self._event("response.function_call_arguments.delta", **self._at(), delta=event.text)

    def _close(self) -> bytes:
        if self._part is None:
            return b""
        item, at, text = self._item(), self._at(), "".join(self._text)
        if self._kind == "text":
            done = self._event("response.output_text.done", **at, content_index=0, text=text, logprobs=[])
            done += self._event("response.content_part.done", **at, content_index=0, part=item["content"][0])
        elif self._kind == "thought":
            done = self._event("response.reasoning_summary_text.done", **at, summary_index=0, text=text)
            done += self._event("response.reasoning_summary_part.done", **at, summary_index=0, part=item["summary"][0])
        elif self._custom:
            done = self._event("response.custom_tool_call_input.delta", **at, delta=item["input"])
            done += self._event("response.custom_tool_call_input.done", **at, input=item["input"])
        else:
            done = self._event(
                "response.function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"]
            )
        self._part = None
        self._output.append(item)
        return done + self._event("response.output_item.done", output_index=at["output_index"], item=item)

    @property
    def _custom(self) -> bool:
        tool = self._tools.get(self._call[1])
        return self._kind == "call" and tool is not None and tool.custom

    def _item(self) -> dict[str, Any]:
        text = "".join(self._text)
        part = (
            Text(text)
            if self._kind == "text"
            else Thought(text)
            if self._kind == "thought"
            else Call(self._call[0], self._call[1], text or "{}")
        )
        return responses_answer.item_of(part, len(self._output), self._id, self._tools)

    def _at(self) -> dict[str, Any]:
        return {
            "output_index": len(self._output),
            "item_id": self._item()["id"] if self._kind != "call" else self._call_item_id(),
        }

    def _call_item_id(self) -> str:
        return f"{'ctc' if self._custom else 'fc'}_{self._id}_{len(self._output)}"


WRITERS: dict[WireName, Callable[[Prompt], StreamWriter]] = {
    "messages": MessagesWriter,
    "chat": ChatWriter,
    "responses": ResponsesWriter,
}
