"""Whatever a conversation holds, each wire format gets a body that its API takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from harness.models.anthropic_wire import BREAKPOINTS, request_body
from harness.models.openai_responses import request_body as responses_body
from harness.models.openai_wire import Dialect
from harness.models.openai_wire import request_body as chat_body
from harness.models.scripted import facts_of
from harness.types import Message, ModelRequest, Opaque, Text, ToolResult, ToolUse
from tests.contracts.model_client import BASH, HAIKU
from tests.wire.reading import Wire, facts_from

texts = some.text(max_size=20)
inputs = some.dictionaries(some.text(max_size=5), some.none() | some.integers() | texts, max_size=3)
opaque = some.builds(Opaque, provider=some.sampled_from(["anthropic", "openai"]), block=some.just({"type": "thinking"}))
marked = some.builds(Text, text=texts, cache=some.booleans())


@some.composite
def sessions(draw: some.DrawFn) -> ModelRequest:
    """A user's words, then turns of tool calls with their results, as an executor would have them."""
    talk = [Message(role="user", content=tuple(draw(some.lists(marked, min_size=1, max_size=3))))]
    for turn in range(draw(some.integers(0, 4))):
        calls = [
            ToolUse(id=f"u{turn}-{number}", name="bash", input=draw(inputs))
            for number in range(draw(some.integers(1, 3)))
        ]
        results = [ToolResult(id=call.id, content=draw(texts), is_error=draw(some.booleans())) for call in calls]
        said = draw(some.lists(marked | opaque, max_size=2))
        talk.append(Message(role="assistant", content=(*said, *calls)))
        talk.append(Message(role="user", content=(*results, *draw(some.lists(marked, max_size=1)))))
    system = tuple(draw(some.lists(marked, max_size=5)))
    tools = draw(some.sampled_from([(), (BASH,)]))
    return ModelRequest(pool=HAIKU, system=system, messages=tuple(talk), tools=tools, phase="execute")


@settings(deadline=None, max_examples=150)
@given(sessions())
def test_anthropic(request: ModelRequest) -> None:
    body = request_body(request, "claude-haiku-5-5", "anthropic")
    assert json.dumps(body) == json.dumps(request_body(request, "claude-haiku-5-5", "anthropic"))
    blocks = [*body.get("system", ()), *(block for message in body["messages"] for block in message["content"])]
    assert sum("cache_control" in block for block in blocks) <= BREAKPOINTS
    assert all(message["content"] for message in body["messages"])
    written = [block for message in body["messages"] for block in message["content"] if block["type"] == "text"]
    assert all(block["text"].strip() for block in written)
    used = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert used == [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]


@settings(deadline=None, max_examples=150)
@given(sessions())
def test_openai_chat(request: ModelRequest) -> None:
    messages = chat_body(request, "gpt-6", Dialect())["messages"]
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_calls.pop(0), "results follow their calls, in their order"
        else:
            assert not open_calls, "nothing stands between a call and its result"
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
            assert message["content"] or open_calls


@pytest.mark.parametrize("wire", ["messages", "chat", "responses"])
@settings(deadline=None, max_examples=80)
@given(request_=sessions())
def test_a_script_sees_the_same_turn_over_every_wire(wire: Wire, request_: ModelRequest) -> None:
    bodies: dict[str, Any] = {
        "messages": request_body(request_, "claude-haiku-5-5", "anthropic"),
        "chat": chat_body(request_, "claude-haiku-5-5", Dialect()),
        "responses": responses_body(request_, "claude-haiku-5-5", "openai"),
    }
    seen, ours = facts_from(wire, bodies[wire], {}, {}), facts_of(request_)
    assert (seen.turn, seen.tier, seen.offers) == (ours.turn, ours.tier, ours.offers)
