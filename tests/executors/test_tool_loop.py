"""The loop against a scripted model, a real worktree, a real journal and a real sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import anyio
import pytest

from harness.budget import Meter
from harness.config.settings import SandboxSettings
from harness.errors import ModelUnavailable
from harness.executors.tool_loop import ToolLoop
from harness.models.script import Script
from harness.models.scripted import ScriptedModelClient
from harness.protocols import Worked
from harness.sandbox import detect
from harness.types import Budget, ModelReply, ModelRequest, Task, Text, ToolResult, total
from tests.executors.conftest import Bench

FIX = {"name": "edit", "input": {"path": "greet.py", "old": "Helo", "new": "Hello"}}
CHECK = {"name": "bash", "input": {"command": "python -m unittest -q"}}
FINISH = {"name": "finish", "input": {"summary": "Fixed the greeting; the test passes."}}


def a_script(*turns: dict[str, Any]) -> Script:
    return Script.model_validate({"replies": [{"turns": list(turns)}]})


class Asked(ScriptedModelClient):
    """The scripted model, with its requests on record and, if wanted, a call at which everything stops."""

    def __init__(self, script: Script, stop_at: int | None = None) -> None:
        super().__init__(script)
        self.requests: list[ModelRequest] = []
        self._stop_at = stop_at

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        if self._stop_at is not None and len(self.requests) + 1 == self._stop_at:
            raise Crash
        self.requests.append(request)
        return await super().complete(request, meter)

    def results(self, request: int) -> list[ToolResult]:
        """The tool results that the request's last message carries."""
        return [block for block in self.requests[request].messages[-1].content if isinstance(block, ToolResult)]


class Crash(BaseException):
    """Stands for SIGKILL: no code of ours handles it."""


@pytest.fixture
def loop(bench: Bench) -> Callable[[ScriptedModelClient], ToolLoop]:
    return lambda models: ToolLoop(models, bench.sandbox, bench.workspace, bench.settings)


Loop = Callable[[ScriptedModelClient], ToolLoop]


async def work(bench: Bench, loop: Loop, *turns: dict[str, Any], **session: Any) -> tuple[Worked, Asked]:
    models = Asked(a_script(*turns))
    return await loop(models).work(bench.session(**session)), models


async def test_a_task_is_done_with_tools_and_finished(bench: Bench, loop: Loop) -> None:
    worked, models = await work(bench, loop, {"tools": [CHECK]}, {"tools": [FIX, CHECK]}, {"tools": [FINISH]})
    assert (worked.outcome, worked.summary) == ("finished", "Fixed the greeting; the test passes.")
    assert await bench.passes()
    first, second = models.results(1)[0], models.results(2)
    assert first.is_error and "Helo, Ann" in first.content and "(exit code 1)" in first.content
    assert [result.is_error for result in second] == [False, False]
    assert total(worked.calls).requests == 3
    assert [event.data["tools"] for event in bench.events][1] == ["edit greet.py", "bash python -m unittest -q"]


async def test_all_workers_of_a_run_send_the_same_prefix(bench: Bench, loop: Loop) -> None:
    _, one = await work(bench, loop, {"tools": [FINISH]})
    _, two = await work(
        bench, loop, {"tools": [FINISH]}, number=2, task=Task(id="t2", title="Another"), feedback="Try again."
    )
    first, second = one.requests[0], two.requests[0]
    assert (first.system, first.tools) == (second.system, second.tools)
    assert first.system[-1].cache and "You are one of several." in first.system[-1].text
    assert "Try again." in str(second.messages[0])


async def test_text_after_work_is_the_end_and_its_summary(bench: Bench, loop: Loop) -> None:
    worked, _ = await work(bench, loop, {"tools": [FIX]}, {"text": "It says Hello now."})
    assert (worked.outcome, worked.summary) == ("finished", "It says Hello now.")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"text": "I would do this and that."}, "without using a tool"),
        ({"text": "And then…", "stop": "max_tokens"}, "cut off"),
        ({"text": "No.", "stop": "refusal"}, "refused"),
    ],
)
async def test_a_model_that_does_not_work_is_reminded_once(
    bench: Bench, loop: Loop, said: dict[str, Any], why: str
) -> None:
    worked, models = await work(bench, loop, said, said, {"tools": [FINISH]})
    assert worked.outcome == "error" and why in (worked.error or "")
    assert len(models.requests) == 2
    worked, _ = await work(bench, loop, said, {"tools": [FIX]}, {"tools": [FINISH]}, number=2)
    assert worked.outcome == "finished"


async def test_tools_of_a_reply_that_was_cut_off_are_not_run(bench: Bench, loop: Loop) -> None:
    cut = {"tools": [{"name": "write", "input": {"path": "half.py", "content": "x = "}}], "stop": "max_tokens"}
    worked, models = await work(bench, loop, cut, {"tools": [FIX]}, {"tools": [FINISH]})
    assert worked.outcome == "finished"
    assert not (bench.path / "half.py").exists()
    assert models.results(1)[0].is_error


async def test_going_round_in_circles_is_noticed(bench: Bench, loop: Loop) -> None:
    again = {"tools": [{"name": "bash", "input": {"command": "cat greet.py"}}]}
    worked, models = await work(bench, loop, *[again] * 10)
    assert worked.outcome == "limit" and "bash" in (worked.error or "") and "3 times" in (worked.error or "")
    assert len(models.requests) == 3


async def test_turns_are_bounded_and_the_model_is_told(bench: Bench, loop: Loop) -> None:
    looks = [{"tools": [{"name": "bash", "input": {"command": f"echo {n}"}}]} for n in range(9)]
    worked, models = await work(bench, loop, *looks, limits={"turns": 5})
    assert worked.outcome == "limit" and "5 turns" in (worked.error or "")
    last = models.requests[-1].messages[-1].content[-1]
    assert isinstance(last, Text) and last.text.startswith("1 turn left")


async def test_finish_beside_a_failed_call_does_not_count(bench: Bench, loop: Loop) -> None:
    wrong = {"name": "edit", "input": {"path": "greet.py", "old": "Hullo", "new": "Hello"}}
    worked, models = await work(bench, loop, {"tools": [wrong, FINISH]}, {"tools": [FIX]}, {"tools": [FINISH]})
    assert worked.outcome == "finished"
    assert [result.is_error for result in models.results(1)] == [True, True]
    assert len(models.requests) == 3


async def test_a_used_up_budget_is_an_orderly_end(bench: Bench, loop: Loop) -> None:
    worked, models = await work(
        bench, loop, {"tools": [FIX]}, {"tools": [CHECK]}, {"tools": [FINISH]}, budget=Budget(calls=2)
    )
    assert worked.outcome == "budget" and len(worked.calls) == 2
    assert "Hello" in (bench.path / "greet.py").read_text()
    assert len(models.requests) == 2


async def test_time_ends_a_call_in_flight(bench: Bench, loop: Loop) -> None:
    with anyio.fail_after(10):
        worked, _ = await work(bench, loop, {"tools": [FIX], "seconds": 60}, budget=Budget(seconds=0.3))
    assert worked.outcome == "budget"


async def test_an_outage_flies_and_keeps_what_is_recorded(bench: Bench, loop: Loop) -> None:
    script = Script.model_validate(
        {
            "replies": [
                {"when": {"turn": 2}, "error": {"kind": "unavailable"}, "times": 1},
                {"turns": [{"tools": [FIX]}, {"tools": [FINISH]}]},
            ]
        }
    )
    models = Asked(script)
    with pytest.raises(ModelUnavailable):
        await loop(models).work(bench.session())
    await bench.reset()
    worked = await loop(models).work(bench.session())
    assert worked.outcome == "finished" and await bench.passes()
    assert [request.turn for request in models.requests] == [1, 2, 2]


async def test_output_is_bounded_and_its_end_is_kept(bench: Bench, loop: Loop) -> None:
    flood = {"tools": [{"name": "bash", "input": {"command": "seq 100000; echo the end"}}]}
    _, models = await work(bench, loop, flood, {"tools": [FINISH]}, limits={"tool_output_chars": 2000})
    content = models.results(1)[0].content
    assert len(content) <= 2000 and content.startswith("1\n2\n") and content.endswith("the end")
    assert "left out" in content


async def test_a_command_over_its_time_is_stopped(bench: Bench, loop: Loop) -> None:
    slow = {"tools": [{"name": "bash", "input": {"command": "echo begun; sleep 60"}}]}
    _, models = await work(bench, loop, slow, {"tools": [FINISH]}, limits={"command_seconds": 1})
    assert models.results(1)[0].content == "begun\n(stopped after 1 seconds)"


async def test_credentials_in_output_reach_neither_model_nor_journal(bench: Bench, loop: Loop) -> None:
    key = "sk-ant-" + "a1" * 20
    show = {"tools": [{"name": "bash", "input": {"command": f"echo {key[:10]}''{key[10:]}"}}]}
    _, models = await work(bench, loop, show, {"tools": [FINISH]})
    assert models.results(1)[0].content == "[redacted]"


TURNS: Sequence[dict[str, Any]] = (
    {"tools": [CHECK]},
    {"tools": [FIX, {"name": "write", "input": {"path": "notes/a.txt", "content": "a\n"}}]},
    {"tools": [{"name": "bash", "input": {"command": "echo b >> notes/a.txt; echo x >> ran"}}]},
    {"tools": [CHECK, {"name": "read", "input": {"path": "notes/a.txt"}}]},
    {"tools": [FINISH]},
)


@pytest.mark.parametrize("at", range(1, 6))
async def test_a_crash_at_any_call_costs_nothing_that_was_recorded(bench: Bench, loop: Loop, at: int) -> None:
    with pytest.raises(Crash):
        await loop(Asked(a_script(*TURNS), stop_at=at)).work(bench.session())
    await bench.reset()
    again = Asked(a_script(*TURNS))
    session = bench.session()
    worked = await loop(again).work(session)
    assert worked.outcome == "finished"
    assert [request.turn for request in again.requests] == list(range(at, 6))
    assert (bench.path / "notes/a.txt").read_text() == "a\nb\n"
    assert (bench.path / "ran").read_text() == "x\n"
    assert await bench.passes()
    assert total(worked.calls) == session.meter.usage, "replayed usage counts once"
    assert session.meter.usage.requests == 5 and session.meter.usage.cost_usd > Decimal(0)


async def test_a_finished_session_entered_again_leaves_the_same_tree_and_asks_nobody(bench: Bench, loop: Loop) -> None:
    await loop(Asked(a_script(*TURNS))).work(bench.session())
    tree = await bench.workspace.snapshot(bench.path)
    await bench.reset()
    again = Asked(a_script(*TURNS))
    worked = await loop(again).work(bench.session())
    assert worked.outcome == "finished" and again.requests == []
    assert await bench.workspace.snapshot(bench.path) == tree


async def test_replayed_requests_are_the_same_bytes(bench: Bench, loop: Loop) -> None:
    """A provider's cache, and a model's memory of what it did, hang on that."""
    whole = Asked(a_script(*TURNS))
    await loop(whole).work(bench.session(number=2))
    await bench.reset()
    with pytest.raises(Crash):
        await loop(Asked(a_script(*TURNS), stop_at=4)).work(bench.session(number=3))
    await bench.reset()
    again = Asked(a_script(*TURNS))
    await loop(again).work(bench.session(number=3))
    normal = [request.model_copy(update={"attempt": 0}).model_dump_json() for request in whole.requests[3:]]
    resumed = [request.model_copy(update={"attempt": 0}).model_dump_json() for request in again.requests]
    assert [_timeless(text, 2) for text in normal] == [_timeless(text, 3) for text in resumed]


def _timeless(text: str, attempt: int) -> str:
    """Without unittest's seconds, and without the attempt's number in tool ids."""
    return re.sub(r"in \d\.\d+s", "", text).replace(f"_t1_{attempt}_", "_")


@pytest.mark.parametrize("mode", [pytest.param("bubblewrap", marks=pytest.mark.needs_bwrap), "landlock"])
async def test_the_model_can_look_at_history_and_its_own_changes(bench: Bench, mode: Any) -> None:
    sandbox = await detect(SandboxSettings(mode=mode))
    look = {
        "name": "bash",
        "input": {"command": "git log --format=%s; git diff --stat; git commit -qam mine || echo no"},
    }
    models = Asked(a_script({"tools": [FIX]}, {"tools": [look]}, {"tools": [FINISH]}))
    await ToolLoop(models, sandbox, bench.workspace, bench.settings).work(bench.session())
    told = models.results(2)[0].content
    assert told.startswith("First\n greet.py | 2 +-\n") and told.endswith("no")
    assert await bench.workspace.resolve("HEAD") == bench.base
