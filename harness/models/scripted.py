"""The scripted model: a file of replies instead of an API, for the demo, examples and tests, and honest about it.

The file's format, with every key, is described in `harness.models.script`:

    replies:
      - when: {phase: plan, issue: demo-3}
        json: {summary: …, tasks: […]}
      - when: {phase: execute, task: t1, attempt: 1}
        turns:
          - tools: [{name: bash, input: {command: …}}]
          - text: Done.
      - when: {phase: execute, task: t1, after_feedback: AssertionError}
        …

The first model of the pool is the one that answers, so that prices, routes and reports look as they would; usage is an
estimate (four characters a token, caching by the published rules) unless the script gives it. A transient error in a
script ends the call as it would after the last retry of a real one.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio

from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import ModelAuthError, ModelError, ModelRequestError, ModelUnavailable
from harness.models.anthropic_wire import request_body
from harness.models.prompt_cache import PromptCache, anthropic_parts, tokens_in
from harness.models.script import Facts, Said, Script, ScriptedError, read_script
from harness.pricing import price
from harness.types import Block, ModelCall, ModelReply, ModelRequest, Opaque, Text, ToolResult, ToolUse, Usage

NONSENSE = "Certainly! Here is nothing that anybody could read as what was asked for: {[("


class ScriptedModelClient:
    """The ModelClient that answers from a script."""

    scripted = True

    def __init__(
        self,
        script: Script,
        settings: Settings | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or Settings()
        bounds = settings.models
        self._prices = settings.prices
        self.script = script
        self._ttl = bounds.cache_ttl
        self._slots = anyio.CapacityLimiter(bounds.max_concurrent)
        self._seen: Counter[tuple[int, Facts]] = Counter()
        self._cache = PromptCache()
        self._sleep, self._clock = sleep, clock

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        """The script's reply to this call; raises ModelRequestError naming the call when the script has none."""
        meter.check()
        facts = facts_of(request)
        async with self._slots:
            began = self._clock()
            said = self.script.find(facts, self._seen)
            if said is None:
                raise ModelRequestError(self.script.missing(facts), _cure(facts))
            bill = self._cache.explicit(request.pool.models[0], anthropic_parts(_body(request, self._ttl)))
            seconds = self.script.defaults.seconds if said.seconds is None else said.seconds
            if seconds:
                await self._sleep(seconds)
            if said.error is not None and said.error.kind != "nonsense":
                raise _error(said.error, request)
            self._cache.began(bill)
            seconds = self._clock() - began
        content = content_of(said, facts)
        output = sum(tokens_in(_written(block)) for block in content)
        usage = price(request.pool.models[0], _usage(said, bill.usage, output), own=self._prices)
        meter.add(usage)
        return _reply(request, said, content, usage, seconds)

    async def aclose(self) -> None:
        """Nothing is open."""


def connect(settings: Settings) -> ScriptedModelClient:
    """The client for `models > script` of the settings; raises ConfigError for a script that cannot be read."""
    assert settings.models.script is not None, "settings.models.script names the file"
    path = settings.models.script
    return ScriptedModelClient(read_script(path if path.is_absolute() else settings.root / path), settings)


def facts_of(request: ModelRequest) -> Facts:
    """What a script may look at in a request."""
    asked = [message for message in request.messages if message.role == "user"]
    said = [block.text for message in asked for block in message.content if isinstance(block, Text)]
    everything = [block.text for block in request.system]
    everything += [_written(block) for message in request.messages for block in message.content]
    turns = [number for number, message in enumerate(request.messages) if message.role == "assistant"]
    last = request.messages[turns[-1] + 1 :] if turns else request.messages
    return Facts(
        phase=request.phase or None,
        issue=request.issue_id,
        task=request.task_id,
        tier=request.pool.tier,
        model=request.pool.models[0],
        attempt=request.attempt,
        turn=max(request.turn, 1 + len(turns)),
        last="\n".join(_written(block) for message in last for block in message.content),
        prompt="\n".join(everything),
        said="\n".join(said),
        offers=tuple(tool.name for tool in request.tools),
    )


def content_of(said: Said, facts: Facts) -> tuple[Block, ...]:
    """A scripted reply as blocks; tool ids follow from the call, so that the same call gives the same bytes."""
    if said.error is not None:
        return (Text(text=NONSENSE),)
    content: list[Block] = []
    if said.thinking is not None:
        thinking = {"type": "thinking", "thinking": said.thinking, "signature": "c2NyaXB0ZWQ="}
        content.append(Opaque(provider="anthropic", block=thinking))
    if said.text is not None:
        content.append(Text(text=said.text))
    if said.answer is not None:
        content.append(Text(text=json.dumps(said.answer, ensure_ascii=False)))
    call = "_".join(str(part) for part in (facts.phase, facts.task, facts.attempt, facts.turn) if part)
    for number, tool in enumerate(said.tools, 1):
        made = re.sub(r"[^A-Za-z0-9_-]", "-", f"toolu_{call}_{number}")
        content.append(ToolUse(id=tool.id or made, name=tool.name, input=tool.input))
    return tuple(content)


def _body(request: ModelRequest, ttl: str) -> dict[str, object]:
    provider, _, model = request.pool.models[0].partition("/")
    return request_body(request, model, provider, ttl)


def _usage(said: Said, estimated: Usage, output: int) -> Usage:
    if said.usage is None:
        return estimated.model_copy(update={"output_tokens": output})
    told = said.usage
    return Usage(
        requests=1,
        input_tokens=told.input,
        output_tokens=told.output,
        cache_read_tokens=told.cache_read,
        cache_write_5m_tokens=told.cache_write_5m,
        cache_write_1h_tokens=told.cache_write_1h,
    )


def _reply(request: ModelRequest, said: Said, content: tuple[Block, ...], usage: Usage, seconds: float) -> ModelReply:
    model = request.pool.models[0]
    call = ModelCall(
        phase=request.phase,
        task_id=request.task_id,
        attempt=request.attempt,
        tier=request.pool.tier,
        model=model,
        usage=usage,
        seconds=round(seconds, 3),
    )
    metadata = {"scripted": True} | ({"usage_estimated": True} if said.usage is None else {})
    stop = said.stop or ("tool_use" if said.tools else "end")
    return ModelReply(model=model, content=content, stop_reason=stop, call=call, metadata=metadata)


def _written(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, ToolResult):
        return block.content
    if isinstance(block, ToolUse):
        return json.dumps({"name": block.name, "input": block.input}, ensure_ascii=False)
    return json.dumps(block.block, ensure_ascii=False)


def _error(error: ScriptedError, request: ModelRequest) -> ModelError:
    model = request.pool.models[0]
    said = error.message or f"the script says so ({error.kind})"
    if error.kind == "auth":
        return ModelAuthError(f"{model} refused the key: {said}", "this is a scripted error; edit the script")
    if error.kind in ("bad_request", "not_found"):
        return ModelRequestError(f"{model} refused the request: {said}")
    told = f"no model of tier '{request.pool.tier}' could be reached ({model}: {said})"
    return ModelUnavailable(told, "the same command goes on once it answers", retry_after=error.retry_after)


def _cure(facts: Facts) -> str:
    told = {"phase": facts.phase, "task": facts.task, "attempt": facts.attempt, "turn": facts.turn}
    when = ", ".join(f"{key}: {value}" for key, value in told.items() if value)
    return f"add a reply with `when: {{{when}}}` to the script"
