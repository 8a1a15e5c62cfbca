"""Bounds on money, tokens, calls and time. A child draws from its parent, so no child can outspend it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.errors import BudgetExceeded
from harness.types import Budget, ModelCall, Usage, total

if TYPE_CHECKING:
    from harness.protocols import StepLog


class Paid(Protocol):
    """A recorded value that knows which model calls it took."""

    @property
    def calls(self) -> tuple[ModelCall, ...]: ...


P = TypeVar("P", bound=Paid)


async def paid(log: StepLog, meter: Meter, key: str, kind: type[P], make: Callable[[], Awaitable[P]]) -> P:
    """A journaled step that costs money: done once; on a later pass its recorded usage is counted, not paid.

    `make` counts its own calls on the meter while they happen.
    """
    recorded = await log.look(key, kind)
    if recorded is not None:
        meter.add(total(recorded.calls))
        return recorded
    return await log.step(key, kind, make)


class Meter:
    """Counts what is used against a budget and against every budget above it.

    Not thread-safe; one event loop owns it. Unpriced calls count as calls and tokens, never as zero dollars spent
    knowingly: `usage.unpriced_requests` tells how many there were.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        parent: Meter | None = None,
        name: str = "run",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget or Budget()
        self.parent = parent
        self.name = name
        self.usage = Usage()
        self._clock = clock
        self._start = clock()

    def child(self, budget: Budget, name: str) -> Meter:
        """A meter that draws from this one."""
        return Meter(budget, self, name, self._clock)

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    def add(self, usage: Usage) -> None:
        """Count usage here and upwards; never raises, because what is spent is spent."""
        meter: Meter | None = self
        while meter is not None:
            meter.usage += usage
            meter = meter.parent

    def check(self) -> None:
        """Raise BudgetExceeded if this budget, or one above it, is used up."""
        meter: Meter | None = self
        while meter is not None:
            reached = meter._reached()
            if reached:
                raise BudgetExceeded(f"the {meter.name}'s budget is used up: {reached}", _cure(meter.name))
            meter = meter.parent

    def left(self) -> Budget:
        """What may still be used, over this budget and all above it."""
        usd, tokens, calls, seconds = [], [], [], []
        meter: Meter | None = self
        while meter is not None:
            bound = meter.budget
            if bound.usd is not None:
                usd.append(max(Decimal(0), bound.usd - meter.usage.cost_usd))
            if bound.tokens is not None:
                tokens.append(max(0, bound.tokens - meter.usage.tokens))
            if bound.calls is not None:
                calls.append(max(0, bound.calls - meter.usage.requests))
            if bound.seconds is not None:
                seconds.append(max(0.0, bound.seconds - meter.seconds))
            meter = meter.parent
        return Budget(
            usd=min(usd, default=None),
            tokens=min(tokens, default=None),
            calls=min(calls, default=None),
            seconds=min(seconds, default=None),
        )

    def _reached(self) -> str | None:
        bound, used = self.budget, self.usage
        if bound.usd is not None and used.cost_usd >= bound.usd:
            return f"${used.cost_usd:.4f} of ${bound.usd} spent"
        if bound.tokens is not None and used.tokens >= bound.tokens:
            return f"{used.tokens:,} of {bound.tokens:,} tokens used"
        if bound.calls is not None and used.requests >= bound.calls:
            return f"{used.requests} of {bound.calls} model calls made"
        if bound.seconds is not None and self.seconds >= bound.seconds:
            return f"{self.seconds:.0f} of {bound.seconds:.0f} seconds gone"
        return None


def _cure(name: str) -> str:
    if name == "day":
        return "everything finished is kept; it goes on tomorrow, or raise queue.budget_per_day"
    if name == "queue":
        return "everything finished is kept; go on with: harness work --budget-usd N"
    return "everything finished is kept; go on with a larger one: harness resume RUN --budget-usd N"
