"""May a running session change models? Priced: what leaving a warm prompt cache costs against what was budgeted.

Pure. All money is Decimal US dollars, all rates are dollars per million tokens, all times are seconds since the epoch.
The rule is Plano's `routing_budget` (0.4.28 and later), restated: extra input cost caused by switching, summed over a
session, stays within `max_switch_spend_pct` of what the session's input would have cost without any switch.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_serializer

from harness.types import Value

MILLION = Decimal(1_000_000)
HISTORY = 8
"""Models whose caches a session remembers; older ones have expired at every provider."""


class Rates(Value):
    """USD per million tokens of one model."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None

    @property
    def blended(self) -> Decimal:
        """Input plus output rate: what `cheapest` compares."""
        return self.input + self.output

    def cached(self, discount: Decimal) -> Decimal:
        """The rate for cached input; without a published one, `discount` times the input rate."""
        return self.input * discount if self.cache_read is None else self.cache_read


class RoutingBudget(Value):
    """How much a session may pay for switching models while its cache is warm."""

    max_switch_spend_pct: Decimal = Field(ge=0, le=100)
    """Percent of the session's input cost on its first model."""
    replenish_on_rebind: bool = True
    """A session whose cache went cold starts with a fresh account."""
    cache_read_discount: Decimal = Field(Decimal("0.1"), ge=0, le=1)
    """Share of the input rate that cached input costs where no cached rate is published."""
    record_counterfactual: bool = False

    def overridden(self, header: str | None) -> RoutingBudget:
        """The budget with a request's own percentage; a header that is not a number from 0 to 100 changes nothing."""
        percent = percent_in(header)
        return self if percent is None else self.model_copy(update={"max_switch_spend_pct": percent})


def percent_in(header: str | None) -> Decimal | None:
    """The number in a `x-…-max-switch-spend-pct` header, or None when it is not a plain number from 0 to 100."""
    text = (header or "").strip()
    if not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    percent = Decimal(text)
    return percent if 0 <= percent <= 100 else None


class Warmth(Value):
    """How long a provider keeps a prompt cache after its last use, in seconds."""

    idle_ttl: float = 300
    hard_ttl: float = 3600
    extended_retention: bool = False
    extended_ttl: float = 3600

    def warm(self, idle_seconds: float) -> bool:
        """Whether a cache idle for so long is still there; the bound itself counts as warm."""
        kept = max(self.idle_ttl, self.extended_ttl) if self.extended_retention else self.idle_ttl
        return 0 <= idle_seconds <= min(kept, self.hard_ttl)


class Warmed(Value):
    """A model the session used before: its cache may still be warm."""

    model: str
    last_used: float
    cached_tokens: int = 0


class Pin(Value):
    """What a session is bound to. Field names are those Plano stores, so that both can share a Redis."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer writer's fields must not lose us the session

    anchor_model: str
    models: tuple[str, ...] = ()
    """The decided pool, the anchor first; empty in a record written by Plano."""
    route_name: str | None = None
    default_model: str = ""
    """The session's first model: the baseline that the budget is measured by."""
    requested_model: str = ""
    prefix_hash: int | None = None
    last_used: float = 0
    cached_tokens: int = 0
    baseline_usd: Decimal = Decimal(0)
    switch_spend_usd: Decimal = Decimal(0)
    switches: int = 0
    session_cost_usd: Decimal = Decimal(0)
    history: tuple[Warmed, ...] = ()

    @field_serializer("baseline_usd", "switch_spend_usd", "session_cost_usd", when_used="json")
    def _as_number(self, amount: Decimal) -> float:
        return float(amount)

    @property
    def pool(self) -> tuple[str, ...]:
        return self.models or (self.anchor_model,)


class Proposal(Value):
    """What routing proposes for a session's next request."""

    models: tuple[str, ...] = Field(min_length=1)
    route: str | None = None
    requested_model: str = ""
    prefix_hash: int | None = None
    """Of system prompt and tools; another one means the provider's cache does not match any more."""
    context_tokens: int = 0


class Settled(Value):
    """What a session gets: the models in order, whether it was bound already, whether that changed, and why."""

    models: tuple[str, ...]
    route: str | None
    pinned: bool
    switched: bool
    reason: Literal["new", "cold", "held", "same_anchor", "free", "within_cap", "over_cap", "no_pricing"]
    pin: Pin

    @property
    def model(self) -> str:
        return self.models[0]


def is_warm(pin: Pin, prefix_hash: int | None, now: float, warmth: Warmth) -> bool:
    """Whether the pinned model's prompt cache still serves this prefix."""
    drifted = None not in (pin.prefix_hash, prefix_hash) and pin.prefix_hash != prefix_hash
    return not drifted and warmth.warm(now - pin.last_used)


def switch_cost(
    context_tokens: int,
    warm_tokens: int,
    anchor_cached_rate: Decimal,
    candidate_rate: Decimal,
    candidate_cached_rate: Decimal,
) -> Decimal:
    """USD that reading the context costs more on the candidate than on the anchor's warm cache; negative when less.

    `warm_tokens` of the context are still in the candidate's own cache from an earlier turn.
    """
    warm = min(warm_tokens, context_tokens)
    candidate = (context_tokens - warm) * candidate_rate + warm * candidate_cached_rate
    return (candidate - context_tokens * anchor_cached_rate) / MILLION


def settle(
    pin: Pin | None,
    proposal: Proposal,
    *,
    now: float,
    budget: RoutingBudget | None = None,
    rates: Callable[[str], Rates | None] = lambda _: None,
    warmth: Callable[[str], Warmth] = lambda _: Warmth(),
) -> Settled:
    """Follow the proposal, or stay with the pinned model when leaving its warm cache is over the session's budget."""
    candidate = proposal.models[0]
    if pin is None or not is_warm(pin, proposal.prefix_hash, now, warmth(pin.anchor_model)):
        return _bind(pin, proposal, now, budget)
    context = max(pin.cached_tokens, proposal.context_tokens)
    discount = budget.cache_read_discount if budget else Decimal("0.1")
    default_rates = rates(pin.default_model or pin.anchor_model)
    grown = pin.baseline_usd + (context * default_rates.cached(discount) / MILLION if default_rates else 0)
    stay: dict[str, Any] = {
        "last_used": now,
        "cached_tokens": context,
        "baseline_usd": grown,
        "prefix_hash": proposal.prefix_hash,
        "requested_model": proposal.requested_model,
    }
    if candidate == pin.anchor_model:
        kept = pin.model_copy(update=stay | {"models": proposal.models, "route_name": proposal.route})
        return Settled(
            models=proposal.models, route=proposal.route, pinned=True, switched=False, reason="same_anchor", pin=kept
        )
    reason, spent = _price(pin, candidate, context, grown, now, budget, rates, warmth(candidate), discount)
    if reason == "over_cap":
        return Settled(
            models=pin.pool,
            route=pin.route_name,
            pinned=True,
            switched=False,
            reason=reason,
            pin=pin.model_copy(update=stay),
        )
    left = Warmed(model=pin.anchor_model, last_used=pin.last_used, cached_tokens=context)
    moved = pin.model_copy(
        update=stay
        | {
            "anchor_model": candidate,
            "models": proposal.models,
            "route_name": proposal.route,
            "switches": pin.switches + 1,
            "switch_spend_usd": pin.switch_spend_usd + spent,
            "history": (left, *(old for old in pin.history if old.model not in (left.model, candidate)))[:HISTORY],
        }
    )
    return Settled(models=proposal.models, route=proposal.route, pinned=True, switched=True, reason=reason, pin=moved)


def _bind(pin: Pin | None, proposal: Proposal, now: float, budget: RoutingBudget | None) -> Settled:
    """A new account: nothing warm is lost."""
    keep = pin is not None and budget is not None and not budget.replenish_on_rebind
    account = {"baseline_usd": pin.baseline_usd, "switch_spend_usd": pin.switch_spend_usd} if pin and keep else {}
    bound = Pin(
        anchor_model=proposal.models[0],
        models=proposal.models,
        route_name=proposal.route,
        default_model=proposal.models[0],
        requested_model=proposal.requested_model,
        prefix_hash=proposal.prefix_hash,
        last_used=now,
        cached_tokens=proposal.context_tokens,
        session_cost_usd=pin.session_cost_usd if pin else Decimal(0),
        **account,
    )
    return Settled(
        models=proposal.models,
        route=proposal.route,
        pinned=False,
        switched=False,
        reason="cold" if pin else "new",
        pin=bound,
    )


def _price(
    pin: Pin,
    candidate: str,
    context: int,
    baseline: Decimal,
    now: float,
    budget: RoutingBudget | None,
    rates: Callable[[str], Rates | None],
    warmth: Warmth,
    discount: Decimal,
) -> tuple[Literal["free", "within_cap", "over_cap", "no_pricing"], Decimal]:
    """Whether the account allows the switch, and what it draws from it."""
    if budget is None:
        return "free", Decimal(0)
    here, there = rates(pin.anchor_model), rates(candidate)
    if here is None or there is None:
        return "no_pricing", Decimal(0)
    before = next((old for old in pin.history if old.model == candidate and warmth.warm(now - old.last_used)), None)
    cost = switch_cost(
        context, before.cached_tokens if before else 0, here.cached(discount), there.input, there.cached(discount)
    )
    if cost <= 0:
        return "free", Decimal(0)
    if pin.switch_spend_usd + cost <= baseline * budget.max_switch_spend_pct / 100:
        return "within_cap", cost
    return "over_cap", Decimal(0)
