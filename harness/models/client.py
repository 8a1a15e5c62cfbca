"""One model call: choose from the pool, limit, retry, fall back, price, count.

    for each model of the pool that is not cooling down
        ask; on 429, 5xx, no connection: wait (full jitter, or what `Retry-After` says) and ask again
        still nothing: the model cools down, the next one is asked
    nobody left: ModelUnavailable, with every model's last words

A refused key stops at once, and so does a request that every model would refuse. What a failed attempt cost is counted
like the rest.
"""

from __future__ import annotations

import importlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import anyio
import anyio.to_thread

from harness.budget import Meter
from harness.config.reading import environment
from harness.config.settings import Settings
from harness.errors import ModelAuthError, ModelError, ModelNonsense, ModelRequestError, ModelUnavailable
from harness.models.cooldowns import Cooldowns
from harness.models.failures import Failure, Kind
from harness.models.providers import ADAPTERS, Adapter, Answer, Provider, find_provider, no_key
from harness.pricing import price
from harness.redact import register
from harness.spans import Attribute, happened
from harness.types import ModelCall, ModelReply, ModelRequest, TierPool, Usage

FIRST_DELAY, LONGEST_DELAY = 0.5, 16.0
"""Seconds: the bounds between which the jittered wait doubles."""
REPEATS: Mapping[Kind, int] = {"timeout": 1, "nonsense": 1, "auth": 0, "quota": 0, "model": 0, "request": 0}
"""How often the same model is asked again after a failure of that kind; other kinds: as often as the settings say."""
LONG_COOLDOWN = 3600.0
"""Seconds a model is passed over that is not there, or whose account has no credit."""

Choose = Callable[[ModelRequest], Awaitable[TierPool]]

_log = logging.getLogger(__name__)


class PooledModelClient:
    """The ModelClient over real providers.

    `choose` may reorder or replace a request's pool (mode `policy`). `gateway` takes the place of all providers: one
    endpoint that is asked for `provider/model` and reaches the provider itself.
    """

    scripted = False

    def __init__(
        self,
        settings: Settings,
        *,
        variables: Mapping[str, str] | None = None,
        gateway: Provider | None = None,
        choose: Choose | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._bounds = settings.models
        self._variables = environment() if variables is None else variables
        self._gateway = gateway
        self._adapters: dict[str, Adapter] = {}
        self._providers: dict[str, Provider] = {}
        self._connecting = anyio.Lock()
        self._slots = anyio.CapacityLimiter(settings.models.max_concurrent)
        self._choose = choose
        self._sleep, self._clock, self._jitter = sleep, clock, jitter
        self._cooldowns = Cooldowns(clock)

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        """The first model's reply that can be had; see the module's head for what is raised when none can."""
        meter.check()
        if self._choose is not None:
            request = request.model_copy(update={"pool": await self._choose(request)})
        spent = Usage()
        refused: dict[str, Failure] = {}
        began = self._clock()
        for model in await self._order(request.pool):
            outcome, paid = await self._try(model, request, meter)
            spent += paid
            if isinstance(outcome, Answer):
                served = self._served(model, outcome)
                return self._reply(request, served, outcome, spent, self._clock() - began, refused)
            self._stop_or_go_on(model, outcome)
            refused[model] = outcome
            happened("harness.fallback", {"harness.model": model, **_trouble(outcome)})
        raise self._nobody(request.pool, refused)

    async def aclose(self) -> None:
        for adapter in self._adapters.values():
            await adapter.aclose()

    def forget_failures(self) -> None:
        """End every cooldown: what failed has been replaced."""
        self._cooldowns.clear()

    # ── choosing ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _order(self, pool: TierPool) -> list[str]:
        """The pool's models that may be asked now; with all of them cooling, the first to be free, after the wait."""
        if free := self._cooldowns.free(pool.models):
            return free
        soonest = min(pool.models, key=self._cooldowns.left)
        wait = self._cooldowns.left(soonest)
        if wait > self._bounds.max_retry_after_seconds:
            raise ModelUnavailable(
                f"every model of tier '{pool.tier}' failed a moment ago: {', '.join(pool.models)}",
                f"try again in {wait:.0f} s, or add a model of another provider to tiers > {pool.tier}",
                retry_after=wait,
            )
        await self._sleep(wait)
        return [soonest]

    def _stop_or_go_on(self, model: str, failure: Failure) -> None:
        """Raise for what no other model can help with; otherwise put the model aside."""
        if failure.kind == "auth":
            raise no_key(self._providers[self._place(model)], str(failure)) from failure
        if failure.kind == "request":
            raise ModelRequestError(f"{model} refused the request: {failure}") from failure
        if failure.kind == "nonsense":
            raise ModelNonsense(f"{model} gave an answer that cannot be read: {failure}") from failure
        lasting = failure.kind in ("quota", "model")
        seconds = max(LONG_COOLDOWN if lasting else self._bounds.cooldown_seconds, failure.retry_after or 0.0)
        self._cooldowns.put_aside(model, seconds)
        _log.warning("%s is passed over for %.0f s: %s", model, seconds, failure)

    def _nobody(self, pool: TierPool, refused: Mapping[str, Failure]) -> ModelError:
        told = "; ".join(f"{model}: {failure}" for model, failure in refused.items())
        kinds = {failure.kind for failure in refused.values()}
        if kinds == {"model"}:
            cure = f"check the names under tiers > {pool.tier} in harness.yaml"
            return ModelRequestError(f"no such model ({told})", cure)
        if kinds <= {"quota", "model"}:
            cure = f"add credit, or a model of another provider to tiers > {pool.tier}"
            return ModelAuthError(f"out of credit ({told})", cure)
        return ModelUnavailable(
            f"no model of tier '{pool.tier}' could be reached ({told})",
            "everything finished is kept; the same command goes on once a provider answers",
            retry_after=min(map(self._cooldowns.left, refused)),
        )

    # ── one model ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _try(self, model: str, request: ModelRequest, meter: Meter) -> tuple[Answer | Failure, Usage]:
        """Ask one model until it answers, or its retries are used up; what it all cost is on the meter."""
        spent, failed = Usage(), Counter[Kind]()
        for attempt in range(self._bounds.retries + 1):
            try:
                answer = await self._ask(model, request)
            except Failure as failure:
                if failure.spent is not None:
                    spent += self._count(model, failure.spent, meter)
                failed[failure.kind] += 1
                too_long = (failure.retry_after or 0.0) > self._bounds.max_retry_after_seconds
                tired = failed[failure.kind] > REPEATS.get(failure.kind, self._bounds.retries)
                if tired or too_long or attempt == self._bounds.retries:
                    return failure, spent
                await self._wait(model, attempt, failure)
                meter.check()
                continue
            return answer, spent + self._count(self._served(model, answer), answer.usage, meter, answer.usage_known)
        raise AssertionError("the loop returns")

    async def _wait(self, model: str, attempt: int, failure: Failure) -> None:
        delay = self._jitter() * min(LONGEST_DELAY, FIRST_DELAY * 2**attempt)
        delay = max(delay, failure.retry_after or 0.0)
        happened("harness.retry", {"harness.model": model, "harness.wait_seconds": delay, **_trouble(failure)})
        await self._sleep(delay)

    async def _ask(self, model: str, request: ModelRequest) -> Answer:
        adapter = await self._adapter(self._place(model))
        name = model if self._gateway else model.partition("/")[2]
        # A little longer than the SDK's own limit on silence, which knows what the call has cost so far.
        limit = self._bounds.timeout_seconds + 5
        async with self._slots:
            with anyio.move_on_after(limit):
                return await adapter.ask(name, request)
        raise Failure("timeout", f"no answer within {limit:g} s")

    async def _adapter(self, name: str) -> Adapter:
        """The provider's adapter, made when first asked for; its SDK is imported off the event loop."""
        async with self._connecting:
            if name not in self._providers:
                bounds = self._bounds
                provider = self._gateway or find_provider(
                    name, self.settings.providers, self._variables, bounds.timeout_seconds, bounds.cache_ttl
                )
                if provider.api_key is not None:
                    register([provider.api_key.get_secret_value()])
                module = await anyio.to_thread.run_sync(importlib.import_module, ADAPTERS[provider.format])
                self._adapters[name] = cast(Adapter, module.connect(provider))
                self._providers[name] = provider
            return self._adapters[name]

    def _place(self, model: str) -> str:
        return self._gateway.name if self._gateway else model.partition("/")[0]

    def _served(self, model: str, answer: Answer) -> str:
        """The model that answered. Only a gateway puts another in the place of the one asked for."""
        if self._gateway is None or not answer.model or model.endswith("/" + answer.model) or answer.model == model:
            return model
        if "/" in answer.model:
            return answer.model
        known = (name for pool in self.settings.tiers.values() for name in pool if name.endswith("/" + answer.model))
        return next(known, f"{self._gateway.name}/{answer.model}")

    def _reply(
        self,
        request: ModelRequest,
        model: str,
        answer: Answer,
        spent: Usage,
        seconds: float,
        refused: Mapping[str, Failure],
    ) -> ModelReply:
        metadata: dict[str, object] = {}
        if answer.model:
            metadata["served_by"] = answer.model
        if answer.request_id:
            metadata["request_id"] = answer.request_id
        if not answer.usage_known:
            metadata["usage_estimated"] = True
        if refused:
            metadata["warnings"] = [f"{name} did not answer: {failure}" for name, failure in refused.items()]
        call = ModelCall(
            phase=request.phase,
            task_id=request.task_id,
            attempt=request.attempt,
            tier=request.pool.tier,
            model=model,
            usage=spent,
            seconds=round(seconds, 3),
        )
        return ModelReply(
            model=model, content=answer.content, stop_reason=answer.stop_reason, call=call, metadata=metadata
        )

    def _count(self, model: str, usage: Usage, meter: Meter, known: bool = True) -> Usage:
        if known:
            usage = price(model, usage, own=self.settings.prices)
        else:
            usage = usage.model_copy(update={"unpriced_requests": usage.requests})
        meter.add(usage)
        return usage


def _trouble(failure: Failure) -> dict[str, Attribute | None]:
    return {"error.type": failure.kind, "http.response.status_code": failure.status}
