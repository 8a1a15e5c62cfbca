"""What every ModelClient promises, whatever it talks to.

A test module derives from ModelClientContract and provides the fixture `open_client`: script → client, so that one
script stands behind all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from harness.budget import Meter
from harness.errors import BudgetExceeded, ModelAuthError, ModelRequestError, ModelUnavailable
from harness.models.script import Script, script_of
from harness.protocols import ModelClient
from harness.types import Budget, Message, ModelReply, ModelRequest, Text, TierPool, Tool, ToolResult, ToolUse

Open = Callable[[Script], ModelClient]

HAIKU = TierPool(tier="haiku", models=("anthropic/claude-haiku-5-5",))
BASH = Tool(
    name="bash",
    description="Run a command.",
    input_schema={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    trained_as="bash",
)
PREFIX = Text(text="You are one of several engineers. " * 300, cache=True)
SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "tasks": {"type": "array", "items": {"$ref": "#/$defs/Task"}, "default": []},
        "note": {"type": "string", "default": ""},
    },
    "required": ["summary"],
    "$defs": {"Task": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}},
}


def asks(task: str = "t1", text: str = "Do it.", **fields: Any) -> ModelRequest:
    told: dict[str, Any] = {
        "pool": HAIKU,
        "system": (PREFIX,),
        "messages": (Message(role="user", content=(Text(text=text),)),),
        "tools": (BASH,),
        "phase": "execute",
        "issue_id": "demo-1",
        "task_id": task,
        "run_id": "r1",
        "affinity": f"r1/{task}/0",
    }
    return ModelRequest(**{**told, **fields})


def goes_on(request: ModelRequest, reply: ModelReply, *results: ToolResult) -> ModelRequest:
    """The next turn of the session."""
    talk = (*request.messages, Message(role="assistant", content=reply.content), Message(role="user", content=results))
    return request.model_copy(update={"messages": talk, "turn": request.turn + 1})


class ModelClientContract:
    async def test_a_reply_says_who_answered_and_what_it_cost(self, open_client: Open) -> None:
        client, meter = open_client(script_of({"replies": [{"text": "Done: ünï → ok"}]})), Meter()
        reply = await client.complete(asks(attempt=2), meter)
        assert (reply.text, reply.stop_reason, reply.model) == ("Done: ünï → ok", "end", HAIKU.models[0])
        assert reply.provider == "anthropic"
        call = reply.call
        assert (call.phase, call.task_id, call.attempt, call.tier, call.model) == (
            "execute", "t1", 2, "haiku", HAIKU.models[0]
        )  # fmt: skip
        assert call.usage.requests == 1 and call.usage.total_input > 2000 and call.usage.output_tokens > 0
        assert call.usage.cost_usd > 0 and call.usage.unpriced_requests == 0
        assert meter.usage == call.usage
        await client.aclose()

    async def test_a_session_calls_tools_and_goes_on(self, open_client: Open) -> None:
        turns = [
            {
                "text": "I look.",
                "tools": [{"name": "bash", "input": {"command": "ls 'a b'"}}, {"name": "bash", "input": {}}],
            },
            {"text": "All done."},
        ]
        script = script_of(
            {
                "replies": [
                    {"when": {"turn": 2, "last": ["file.py", "no such file"]}, "text": "All done."},
                    {"when": {"turn": 1}, "turns": turns},
                ]
            }
        )
        client, meter = open_client(script), Meter()
        first = await client.complete(asks(), meter)
        assert first.stop_reason == "tool_use" and first.text == "I look."
        assert [(use.name, use.input) for use in first.tool_uses] == [("bash", {"command": "ls 'a b'"}), ("bash", {})]
        one, two = first.tool_uses
        assert one.id != two.id
        more = goes_on(
            asks(),
            first,
            ToolResult(id=one.id, content="file.py"),
            ToolResult(id=two.id, content="no such file", is_error=True),
        )
        second = await client.complete(more, meter)
        assert (second.text, second.stop_reason, second.tool_uses) == ("All done.", "end", ())
        assert second.call.usage.cache_read_tokens > 2000, "the second turn reads what the first one wrote"
        assert meter.usage.requests == 2
        await client.aclose()

    async def test_a_structured_answer_is_json(self, open_client: Open) -> None:
        answer = {"summary": "Add a cache", "tasks": [{"id": "t1"}]}
        client = open_client(script_of({"replies": [{"when": {"phase": "plan"}, "json": answer}]}))
        reply = await client.complete(asks(phase="plan", tools=(), answer_schema=SCHEMA), Meter())
        assert reply.stop_reason == "end"
        assert json.loads(reply.text) == answer
        await client.aclose()

    async def test_what_the_provider_thinks_goes_back_to_it_untouched(self, open_client: Open) -> None:
        script = script_of({"replies": [{"turns": [{"thinking": "hm", "tools": [{"name": "bash"}]}, {"text": "ok"}]}]})
        client = open_client(script)
        first = await client.complete(asks(), Meter())
        second = await client.complete(
            goes_on(asks(), first, ToolResult(id=first.tool_uses[0].id, content="x")), Meter()
        )
        assert second.text == "ok"
        await client.aclose()

    async def test_a_cut_answer_says_so(self, open_client: Open) -> None:
        client = open_client(script_of({"replies": [{"text": "It beg", "stop": "max_tokens"}]}))
        assert (await client.complete(asks(), Meter())).stop_reason == "max_tokens"
        await client.aclose()

    async def test_parallel_calls_get_their_own_answers(self, open_client: Open) -> None:
        script = script_of({"replies": [{"when": {"task": f"t{n}"}, "text": f"answer {n}"} for n in range(12)]})
        client, meter, got = open_client(script), Meter(), {}

        async def ask(number: int) -> None:
            got[number] = (await client.complete(asks(f"t{number}"), meter)).text

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(ask, number)
        assert got == {number: f"answer {number}" for number in range(12)}
        assert meter.usage.requests == 12
        await client.aclose()

    async def test_a_cancelled_call_is_gone_and_the_next_one_works(self, open_client: Open) -> None:
        script = script_of({"replies": [{"when": {"task": "slow"}, "text": "late", "seconds": 5}, {"text": "quick"}]})
        client, meter = open_client(script), Meter()
        await client.complete(asks(), meter)
        with anyio.move_on_after(0.2) as scope:
            await client.complete(asks("slow"), meter)
        assert scope.cancelled_caught
        assert (await client.complete(asks(), meter)).text == "quick" and meter.usage.requests == 2
        await client.aclose()

    async def test_a_call_without_a_reply_is_named(self, open_client: Open) -> None:
        client = open_client(script_of({"replies": [{"when": {"task": "t1"}, "text": "x"}]}, "demo.yaml"))
        with pytest.raises(ModelRequestError) as caught:
            await client.complete(asks("t3", attempt=2), Meter())
        assert "demo.yaml has no reply for phase execute, issue demo-1, task t3, attempt 2, turn 1" in str(caught.value)
        await client.aclose()

    async def test_a_refused_key_stops_at_once_and_tells_the_cure(self, open_client: Open) -> None:
        client, meter = open_client(script_of({"replies": [{"error": {"kind": "auth"}}]})), Meter()
        with pytest.raises(ModelAuthError) as caught:
            await client.complete(asks(), meter)
        assert caught.value.hint and meter.usage.requests == 0
        await client.aclose()

    @pytest.mark.parametrize("kind", ["unavailable", "rate_limited", "server"])
    async def test_an_outage_is_told_from_a_failure(self, open_client: Open, kind: str) -> None:
        client = open_client(script_of({"replies": [{"error": {"kind": kind, "retry_after": 90}}]}))
        with pytest.raises(ModelUnavailable) as caught:
            await client.complete(asks(), Meter())
        assert caught.value.retry_after is not None and 80 < caught.value.retry_after <= 90
        assert HAIKU.models[0] in str(caught.value)
        await client.aclose()

    async def test_a_used_up_budget_makes_no_call(self, open_client: Open) -> None:
        client = open_client(script_of({"replies": [{"text": "x"}]}))
        meter = Meter(Budget(calls=1))
        await client.complete(asks(), meter)
        with pytest.raises(BudgetExceeded):
            await client.complete(asks(), meter)
        assert meter.usage.requests == 1
        await client.aclose()

    async def test_the_same_call_gives_the_same_answer(self, open_client: Open) -> None:
        client = open_client(script_of({"replies": [{"tools": [{"name": "bash", "input": {"command": "ls"}}]}]}))
        one, two = [await client.complete(asks(), Meter()) for _ in range(2)]
        assert one.content == two.content and isinstance(one.content[0], ToolUse)
        await client.aclose()
