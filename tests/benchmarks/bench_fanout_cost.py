"""What a fan-out's input costs: 20 workers with a prefix of 10,000 tokens in common, on a server that bills caching by
the published rules. The claim: at most 1.1 times the ideal, which is one write and nineteen reads.

    python -m tests.benchmarks.bench_fanout_cost [WORKERS] [PREFIX_TOKENS]

The real execute phase schedules, the real client calls over the Anthropic wire format; backend and merges are
stand-ins. `phase` is the product; `at once` is the same without the first call that warms the cache; `one by one` runs
a single worker at a time, so that every later one finds the prefix written; `computed` prices one write of the prefix,
a read of it for every other call and everything else as plain input.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import anyio

from harness.budget import Meter
from harness.config.settings import Settings
from harness.executors.tool_loop import RULES
from harness.executors.tools import TOOLS
from harness.models.client import PooledModelClient
from harness.phases.execute import execute
from harness.pricing import price
from harness.prompts import brief, task_text
from harness.types import (
    Issue,
    Message,
    ModelRequest,
    Phase,
    Pipeline,
    Plan,
    RouteDecision,
    Run,
    Task,
    TaskResult,
    Text,
    TierPool,
    ToolResult,
    Usage,
)
from tests.wire import WireRequest, WireServer

MODEL = "anthropic/claude-haiku-5-5"
POOL = TierPool(tier="haiku", models=(MODEL,))
LATENCY = 0.2
"""Seconds until a response begins; what starts before the first one has begun cannot read what it wrote."""


@dataclass
class _Backend:
    """Does a task's model calls and nothing else."""

    client: PooledModelClient
    system: tuple[Text, ...]
    turns: int
    capacity: int
    spread: list[Usage] = field(default_factory=list)

    async def run(self, job: Any, meter: Meter) -> TaskResult:
        talk: tuple[Message, ...] = (Message(role="user", content=(Text(text=task_text(job, "")),)),)
        for turn in range(1, self.turns + 1):
            request = ModelRequest(
                pool=POOL, system=self.system, messages=talk, tools=TOOLS, phase="execute", task_id=job.id, turn=turn
            )
            reply = await self.client.complete(request, meter)
            results = tuple(ToolResult(id=use.id, content="x = 1\n" * 100) for use in reply.tool_uses)
            talk = (*talk, Message(role="assistant", content=reply.content), Message(role="user", content=results))
        return TaskResult(task_id=job.id, status="done", commit="0" * 40)


def _answer(request: WireRequest) -> dict[str, Any]:
    tool = {"name": "bash", "input": {"command": "cat module.py"}}
    return {"text": "I look.", "tools": [tool], "seconds": LATENCY}


async def _measure(plan: Plan, system: tuple[Text, ...], turns: int, parallel: int, warms: bool) -> tuple[Usage, float]:
    """(what the server billed, seconds)."""
    with WireServer(_answer) as server:
        settings = Settings.model_validate(
            {
                "providers": {"anthropic": {"base_url": server.url}},
                "max_parallel": parallel,
                "models": {"max_concurrent": 64},
            }
        )
        backend = _Backend(PooledModelClient(settings, variables={}), system, turns, parallel)
        await _connected(backend)
        began = time.perf_counter()
        await execute(*_stand_ins(plan, settings, backend, warms), Meter())
        seconds = time.perf_counter() - began
        await backend.client.aclose()
        return sum((call.usage[0] for call in server.calls[1:]), Usage()), seconds


async def _connected(backend: _Backend) -> None:
    """One call with another prompt, so that no row pays for importing the SDK."""
    request = ModelRequest(pool=POOL, messages=(Message(role="user", content=(Text(text="hello"),)),))
    await backend.client.complete(request, Meter())


def _stand_ins(plan: Plan, settings: Settings, backend: _Backend, warms: bool) -> tuple[Any, Any, Any, Any]:
    route = RouteDecision(tier="haiku", model=MODEL, pipeline="p", strategy="label", rule="r", reason="r")
    phase = Phase(id="2_execution", kind="execute")
    run = Run(
        id="r", issue=Issue(id="i", title="t"), route=route, pipeline=Pipeline(name="p", phases=(phase,)), plan=plan
    )

    async def merge(*_: Any) -> SimpleNamespace:
        return SimpleNamespace(results={}, failed=None, commit="0" * 40)

    make: Callable[..., Task] = lambda task, commit: task  # noqa: E731  # as short as it is
    jobs = SimpleNamespace(
        executor="tool_loop", phase=phase, make=make, run=SimpleNamespace(floor="0" * 40, id="r", issue=run.issue)
    )
    executors = lambda name: SimpleNamespace(shared_prefix=warms)  # noqa: E731
    deps = SimpleNamespace(settings=settings, backend=backend, executors=executors, emit=lambda event: None)
    return run, jobs, SimpleNamespace(merge=merge), deps


def _usd(usage: Usage) -> Decimal:
    """Input alone."""
    return price(MODEL, usage.model_copy(update={"output_tokens": 0, "requests": 1})).cost_usd


def _prefix(plan: Plan, tokens: int) -> str:
    issue = Issue(id="bd-1", title="Split the user module", body="Each function into a file of its own.")
    files: list[str] = []
    text = ""
    while len(text) // 4 < tokens and len(files) < 20_000:
        files += [f"src/package_{len(files) // 20}/module_{number}_of_the_application.py" for number in range(20)]
        text = f"{RULES}\n\n{brief(issue, plan, tuple(files[:399]))}" + "\n".join(files[399:])
    return text[: tokens * 4]


async def main(workers: int, tokens: int) -> None:
    plan = Plan(
        summary="One module a task.",
        tasks=tuple(
            Task(id=f"t{n}", title=f"Module {n}", instructions=f"Split module {n}. " * 20) for n in range(workers)
        ),
    )
    text = _prefix(plan, tokens)
    system = (Text(text=text, cache=True),)
    print(f"{workers} workers, a prefix of {tokens:,} tokens, first response after {LATENCY} s, {MODEL}\n")
    print(f"{'':24}{'input USD':>12}{'× ideal':>10}{'written':>11}{'read':>11}{'plain':>9}{'seconds':>9}")
    worst = 0.0
    for turns in (1, 4):
        single = await _measure(plan, system, turns, 1, True)
        rows = {
            "one by one": single,
            "phase": await _measure(plan, system, turns, workers, True),
            "at once": await _measure(plan, system, turns, workers, False),
        }
        ideal = single[0]
        if turns == 1:
            shared = ideal.cache_read_tokens // (workers - 1)
            rest = ideal.total_input - workers * shared
            ideal = Usage(cache_write_5m_tokens=shared, cache_read_tokens=shared * (workers - 1), input_tokens=rest)
            rows = {"computed": (ideal, 0.0), **rows}
        for name, (usage, seconds) in rows.items():
            ratio = float(_usd(usage) / _usd(ideal))
            worst = max(worst, ratio) if name == "phase" else worst
            written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
            print(
                f"{f'{turns} turn(s): {name}':24}{_usd(usage):>12.5f}{ratio:>10.3f}"
                f"{written:>11,}{usage.cache_read_tokens:>11,}{usage.input_tokens:>9,}{seconds:>9.2f}"
            )
    print(f"\nthe phase's worst ratio to the ideal: {worst:.3f} (claimed: at most 1.1)")


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    anyio.run(main, *(numbers + [20, 10_000][len(numbers) :]))
