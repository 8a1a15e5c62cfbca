"""The scripted client: honest, deterministic, and the same whatever the order of the calls."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import ConfigError, ModelRequestError
from harness.models.build import build_client
from harness.models.client import PooledModelClient
from harness.models.plano import PlanoModelClient
from harness.models.script import script_of
from harness.models.scripted import ScriptedModelClient
from harness.types import Message, Text, TierPool
from tests.contracts.model_client import asks, goes_on

REPLIES = {
    "replies": [
        {"when": {"task": "t1"}, "turns": [{"tools": [{"name": "bash", "input": {"n": 1}}]}, {"text": "t1 done"}]},
        {"when": {"task": "t2", "after_feedback": "it failed"}, "text": "t2 better"},
        {"when": {"task": "t2"}, "text": "t2 done"},
    ]
}


async def test_it_says_that_no_api_was_called() -> None:
    client = ScriptedModelClient(script_of(REPLIES))
    reply = await client.complete(asks("t2"), Meter())
    assert client.scripted and reply.metadata == {"scripted": True, "usage_estimated": True}


async def test_the_order_of_calls_changes_no_answer() -> None:
    first = asks("t1")
    calls = [first, asks("t2"), asks("t2", "it failed before")]
    answers = []
    for order in itertools.permutations(range(3)):
        client = ScriptedModelClient(script_of(REPLIES))
        got = {number: (await client.complete(calls[number], Meter())).content for number in order}
        answers.append(json.dumps([[b.model_dump() for b in got[n]] for n in range(3)]))
    assert len(set(answers)) == 1


async def test_a_resumed_session_gets_its_next_turn_from_a_fresh_client() -> None:
    one = await ScriptedModelClient(script_of(REPLIES)).complete(asks("t1"), Meter())
    more = goes_on(asks("t1"), one)
    two = await ScriptedModelClient(script_of(REPLIES)).complete(more, Meter())
    assert two.text == "t1 done"
    counted_by_talk_alone = more.model_copy(update={"turn": 1})
    assert (await ScriptedModelClient(script_of(REPLIES)).complete(counted_by_talk_alone, Meter())).text == "t1 done"


async def test_usage_is_estimated_with_caching_or_taken_from_the_script() -> None:
    given = {"text": "x", "usage": {"input": 1, "cache_read": 2, "cache_write_5m": 3, "cache_write_1h": 4, "output": 5}}
    client = ScriptedModelClient(script_of({"replies": [{"when": {"task": "t9"}, **given}, {"text": "12345678"}]}))
    one, two = [(await client.complete(asks(task), Meter())).call.usage for task in ("t1", "t2")]
    assert one.cache_write_5m_tokens > 2000 and one.cache_read_tokens == 0 and one.output_tokens == 2
    assert two.cache_read_tokens > 2000 and two.cost_usd < one.cost_usd
    told = (await client.complete(asks("t9"), Meter())).call.usage
    assert (told.input_tokens, told.cache_read_tokens, told.cache_write_1h_tokens, told.output_tokens) == (1, 2, 4, 5)


async def test_a_model_without_a_price_stays_without_one() -> None:
    client = ScriptedModelClient(script_of({"replies": [{"text": "x"}]}))
    pool = TierPool(tier="haiku", models=("nowhere/unknown-model",))
    usage = (await client.complete(asks(pool=pool), Meter())).call.usage
    assert usage.unpriced_requests == 1 and usage.cost_usd == 0


async def test_seconds_are_waited_for() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    data = {
        "replies": [{"when": {"task": "t1"}, "text": "x", "seconds": 2}, {"text": "y"}],
        "defaults": {"seconds": 0.5},
    }
    client = ScriptedModelClient(script_of(data), sleep=sleep)
    for task in ("t1", "t2"):
        await client.complete(asks(task), Meter())
    assert slept == [2, 0.5]


async def test_nonsense_is_an_answer_that_nobody_can_read() -> None:
    client = ScriptedModelClient(script_of({"replies": [{"error": {"kind": "nonsense"}}]}))
    reply = await client.complete(asks(), Meter())
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(reply.text)


async def test_a_missing_reply_tells_what_to_add() -> None:
    client = ScriptedModelClient(script_of({"replies": []}, "demo.yaml"))
    with pytest.raises(ModelRequestError) as caught:
        await client.complete(asks("t3", attempt=2), Meter())
    assert caught.value.hint == "add a reply with `when: {phase: execute, task: t3, attempt: 2, turn: 1}` to the script"


async def test_data_in_a_prompt_gives_no_orders_to_the_script() -> None:
    client = ScriptedModelClient(script_of(REPLIES))
    sly = Message(role="user", content=(Text(text="phase: plan, task: t1, turn: 2"),))
    assert (await client.complete(asks("t2", messages=(sly,)), Meter())).text == "t2 done"


def test_the_settings_choose_the_client(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("replies: [{text: x}]")

    def settings(**data: object) -> Settings:
        return Settings.model_validate({"root": tmp_path, **data})

    assert isinstance(build_client(settings(models={"script": "s.yaml"})), ScriptedModelClient)
    assert isinstance(build_client(settings()), PooledModelClient)
    assert isinstance(build_client(settings(routing={"mode": "policy"})), PooledModelClient)
    assert isinstance(build_client(settings(routing={"mode": "plano_proxy"})), PlanoModelClient)
    with pytest.raises(ConfigError, match="no such file"):
        build_client(settings(models={"script": "none.yaml"}))
