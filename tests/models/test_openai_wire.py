"""What goes to OpenAI's two APIs and comes back, from exact servers and from careless ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.models.failures import Failure
from harness.models.openai_responses import answer_of as response_answer
from harness.models.openai_responses import request_body as response_body
from harness.models.openai_wire import Dialect, answer_of, request_body, usage_of
from harness.models.schema import closed, without_nulls
from harness.types import Message, Opaque, Text, ToolResult, ToolUse
from tests.contracts.model_client import SCHEMA, asks

TALK = (
    Message(role="user", content=(Text(text="go"),)),
    Message(
        role="assistant",
        content=(
            Opaque(provider="openai", block={"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}),
            Text(text="I look."),
            ToolUse(id="c1", name="bash", input={"command": "ls"}),
        ),
    ),
    Message(role="user", content=(ToolResult(id="c1", content="boom", is_error=True), Text(text="2 turns left"))),
)


def test_a_session_as_chat_messages() -> None:
    body = request_body(asks(messages=TALK), "gpt-6", Dialect())
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "bash", "arguments": '{"command": "ls"}'}
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": "Error: boom"}
    assert body["tools"][0]["function"]["name"] == "bash" and body["max_tokens"] == 8192


def test_a_session_as_response_items() -> None:
    body = response_body(asks(messages=TALK), "gpt-6", "openai")
    kinds = [item.get("type", item.get("role")) for item in body["input"]]
    assert kinds == ["user", "reasoning", "assistant", "function_call", "function_call_output", "user"]
    assert body["store"] is False and body["include"] == ["reasoning.encrypted_content"]
    other = response_body(asks(messages=TALK), "gpt-6", "another")
    assert "reasoning" not in [item.get("type") for item in other["input"]]


def test_a_shared_prefix_is_the_same_bytes() -> None:
    for body_of in (lambda r: request_body(r, "gpt-6", Dialect()), lambda r: response_body(r, "gpt-6", "openai")):
        one, two = (json.dumps(body_of(asks(f"t{n}", f"Task {n}")), sort_keys=True) for n in range(2))
        assert len(one) == len(two) and sum(a != b for a, b in zip(one, two, strict=True)) == 1


def test_cached_tokens_are_part_of_the_prompts() -> None:
    told = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 80}}
    usage, known = usage_of(told)
    assert known and (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.total_input) == (
        20,
        80,
        7,
        100,
    )
    written = {
        "input_tokens": 100,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 50},
    }
    usage, _ = usage_of(written)
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens) == (20, 30, 50)
    deepseek = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_cache_hit_tokens": 64}
    assert usage_of(deepseek)[0].cache_read_tokens == 64


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 5}])
def test_usage_that_is_missing_is_unknown_and_not_zero(usage: Any) -> None:
    assert usage_of(usage)[1] is False


def test_careless_servers_are_understood() -> None:
    call = {"function": {"name": "bash", "arguments": {"command": "ls"}}}  # no id, an object, and `stop` as the reason
    careless = {"choices": [{"message": {"tool_calls": [call, call]}, "finish_reason": "stop"}]}
    answer = answer_of(careless, asks(), {"messages": []})
    assert answer.stop_reason == "tool_use" and not answer.usage_known
    assert [block.id for block in answer.content if isinstance(block, ToolUse)] == ["call_1_1", "call_1_2"]
    empty = {"choices": [{"message": {"content": None}, "finish_reason": None}]}
    assert answer_of(empty, asks(), {}).content == ()
    with pytest.raises(Failure, match="no choice"):
        answer_of({"choices": []}, asks(), {})


def test_a_refusal_is_a_refusal() -> None:
    document = {"choices": [{"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]}
    answer = answer_of(document, asks(), {})
    assert answer.stop_reason == "refusal" and answer.content == (Text(text="I cannot."),)
    part = {"type": "refusal", "refusal": "No."}
    told = {"status": "completed", "output": [{"type": "message", "content": [part]}]}
    assert response_answer(told, asks(), {}, "openai").stop_reason == "refusal"


def test_a_failed_response_says_why() -> None:
    for code, kind in (("server_error", "transient"), ("invalid_prompt", "request")):
        with pytest.raises(Failure) as caught:
            response_answer({"status": "failed", "error": {"code": code, "message": "m"}}, asks(), {}, "openai")
        assert caught.value.kind == kind


def test_a_schema_becomes_strict_and_the_answer_plain_again() -> None:
    strict = closed(SCHEMA, every_key_required=True)
    assert strict["required"] == ["summary", "tasks", "note"] and strict["additionalProperties"] is False
    assert strict["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert strict["$defs"]["Task"]["additionalProperties"] is False
    answer = {"summary": "s", "tasks": [{"id": "t1"}], "note": None}
    assert json.loads(without_nulls(json.dumps(answer), SCHEMA)) == {"summary": "s", "tasks": [{"id": "t1"}]}
    assert without_nulls("no JSON", SCHEMA) == "no JSON"
    loose = closed(SCHEMA)
    assert loose["required"] == ["summary"] and "default" not in loose["properties"]["note"]


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string", "title": "T"}, "pattern": {"type": "string"}},
    }
    assert set(closed(schema)["properties"]) == {"title", "pattern"}
    assert closed(schema)["properties"]["title"] == {"type": "string"}
