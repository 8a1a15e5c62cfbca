"""What goes to Anthropic's API: breakpoints, trained tools, byte-identical prefixes, thinking, usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.models.anthropic_wire import BREAKPOINTS, answer_of, request_body, usage_of
from harness.types import Message, ModelRequest, Opaque, Text, Tool, ToolResult, ToolUse
from tests.contracts.model_client import BASH, SCHEMA, asks

HAIKU = "claude-haiku-5-5"
EDITOR = Tool(name="edit_file", description="d", input_schema={"type": "object"}, trained_as="text_editor")


def body_of(request: ModelRequest, **options: Any) -> dict[str, Any]:
    return request_body(request, HAIKU, "anthropic", **options)


def marks(body: dict[str, Any]) -> list[Any]:
    """Every cache_control, with the text or id of the block it follows."""
    blocks = [*body.get("system", ()), *(block for message in body["messages"] for block in message["content"])]
    return [block.get("text", block.get("tool_use_id")) for block in blocks if "cache_control" in block]


def session(turns: int, **fields: Any) -> ModelRequest:
    talk: list[Message] = [Message(role="user", content=(Text(text="start"),))]
    for turn in range(turns):
        talk.append(Message(role="assistant", content=(ToolUse(id=f"u{turn}", name="bash", input={}),)))
        talk.append(Message(role="user", content=(ToolResult(id=f"u{turn}", content="x"),)))
    return asks(messages=tuple(talk), **fields)


def test_a_session_marks_the_shared_prefix_and_the_ends_of_the_last_two_user_turns() -> None:
    request = session(3)
    assert marks(body_of(request)) == [request.system[0].text, "u1", "u2"]


def test_a_single_question_marks_only_what_was_asked_for() -> None:
    request = asks(tools=())
    assert marks(body_of(request)) == [request.system[0].text]
    assert marks(body_of(asks(tools=(), system=(Text(text="once"),)))) == []


def test_there_are_never_more_breakpoints_than_the_api_takes() -> None:
    many = tuple(Text(text=f"part {number}", cache=True) for number in range(6))
    request = session(2, system=many)
    told = marks(body_of(request))
    assert len(told) == BREAKPOINTS and told == ["part 0", "part 1", "part 2", "u1"]


def test_the_lifetime_is_told_only_where_it_is_not_the_default() -> None:
    assert body_of(asks())["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body_of(asks(), ttl="1h")["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_workers_with_one_brief_send_one_prefix_byte_for_byte() -> None:
    bodies = [json.dumps(body_of(asks(f"t{number}", f"Task {number}"))) for number in range(2)]
    start = bodies[0].index('"messages"')
    assert bodies[0][:start] == bodies[1][:start] and "You are one of several engineers" in bodies[0][:start]


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-4-1", "claude-sonnet-4-20250514", "claude-fable-5"])
def test_trained_tools_go_as_the_providers_own_types(model: str) -> None:
    tools = request_body(asks(tools=(BASH, EDITOR)), model, "anthropic")["tools"]
    assert tools == [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]


@pytest.mark.parametrize("model", ["claude-3-haiku-20240307", "claude-3-7-sonnet-latest", "glm-5", "deepseek-v4"])
def test_models_without_them_get_plain_tools(model: str) -> None:
    tools = request_body(asks(tools=(BASH,)), model, "anthropic")["tools"]
    assert tools == [{"name": "bash", "description": BASH.description, "input_schema": BASH.input_schema}]


def test_a_trained_tools_name_is_ours_again_in_the_answer_and_theirs_in_the_history() -> None:
    call = {"type": "tool_use", "id": "u", "name": "str_replace_based_edit_tool", "input": {"command": "view"}}
    answer = answer_of({"content": [call], "stop_reason": "tool_use"}, "anthropic", (EDITOR,))
    assert answer.content == (ToolUse(id="u", name="edit_file", input={"command": "view"}),)
    request = asks(tools=(EDITOR,), messages=(Message(role="assistant", content=answer.content),))
    assert body_of(request)["messages"][0]["content"][0]["name"] == "str_replace_based_edit_tool"


def test_thinking_goes_back_whole_to_its_own_provider_and_to_no_other() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "abc"}
    answer = answer_of({"content": [block], "stop_reason": "end_turn"}, "anthropic", ())
    assert answer.content == (Opaque(provider="anthropic", block=block),)
    request = asks(messages=(Message(role="assistant", content=(*answer.content, Text(text="x"))),))
    assert body_of(request)["messages"][0]["content"][0] == block
    other = request_body(request, "glm-5", "zhipu")["messages"][0]["content"]
    assert other == [{"type": "text", "text": "x"}]


def test_empty_texts_and_outputs_are_never_sent() -> None:
    talk = (
        Message(role="user", content=(Text(text=""), Text(text=" "))),
        Message(role="user", content=(ToolResult(id="u", content="", is_error=True),)),
    )
    first, second = body_of(asks(messages=talk, tools=(), system=(Text(text=""),)))["messages"]
    assert first["content"] == [{"type": "text", "text": "(nothing)"}]
    assert second["content"][0]["content"] == "(no output)" and second["content"][0]["is_error"] is True


def test_a_structured_answer_is_asked_for_natively_or_through_a_forced_tool() -> None:
    request = asks(tools=(), answer_schema=SCHEMA)
    native = body_of(request)["output_config"]["format"]
    assert native["type"] == "json_schema" and native["schema"]["additionalProperties"] is False
    forced = body_of(request, structured=False)
    assert "output_config" not in forced and forced["tool_choice"] == {"type": "tool", "name": "answer"}
    call = {"type": "tool_use", "id": "u", "name": "answer", "input": {"summary": "é"}}
    answer = answer_of({"content": [call], "stop_reason": "tool_use"}, "anthropic", ())
    assert answer.content == (Text(text='{"summary": "é"}'),) and answer.stop_reason == "end"


def test_usage_is_split_by_lifetime() -> None:
    told = {
        "input_tokens": 6,
        "output_tokens": 9,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    usage = usage_of(told)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.total_input) == (10, 20, 41)
    del told["cache_creation"]
    assert usage_of(told).cache_write_5m_tokens == 30
    assert usage_of({"input_tokens": 1, "cache_creation": None, "cache_read_input_tokens": None}).total_input == 1


@pytest.mark.parametrize(("theirs", "ours"), [
    ("end_turn", "end"), ("max_tokens", "max_tokens"), ("refusal", "refusal"), ("pause_turn", "other"),
    ("model_context_window_exceeded", "max_tokens"), (None, "other"), ("something_new", "other"),
])  # fmt: skip
def test_stop_reasons(theirs: str | None, ours: str) -> None:
    assert answer_of({"content": [], "stop_reason": theirs}, "anthropic", ()).stop_reason == ours
