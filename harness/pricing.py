"""Usage → US dollars: by model, date, prompt length, cache reads and writes, batch. An unknown price is never zero.

Figures come, in this order, from the user's `prices:`, from `prices.json`, and from genai-prices, always offline.
`prices.json` is an excerpt of genai-prices that saves importing it (0.1 s) for the models most people use; it counts
only while it agrees with the genai-prices that is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.types import Usage

if TYPE_CHECKING:
    from harness.config.settings import OwnPrice

EXCERPT = Path(__file__).with_name("prices.json")
MILLION = 1_000_000


class Rates(NamedTuple):
    """USD per million tokens."""

    input: Decimal
    output: Decimal | None
    """None: not published (an embedding model's, say)."""
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    longer: tuple[tuple[int, Rates], ...] = ()
    """Rates of every token of a request whose prompt exceeds so many tokens, ascending."""

    def at(self, prompt_tokens: float) -> Rates:
        """The rates of a request with a prompt of that length."""
        return next((rates for start, rates in reversed(self.longer) if prompt_tokens > start), self)

    def cost(self, usage: Usage) -> Decimal | None:
        """USD for one request; for a sum of several, the prompt length is their mean."""
        rates = self.at(usage.total_input / max(1, usage.requests))
        if rates.output is None and usage.output_tokens:
            return None
        return (
            usage.input_tokens * rates.input
            + usage.cache_read_tokens * rates.cache_read
            + usage.cache_write_5m_tokens * rates.cache_write_5m
            + usage.cache_write_1h_tokens * rates.cache_write_1h
            + usage.output_tokens * (rates.output or Decimal(0))
        ) / MILLION


def price(
    model: str,
    usage: Usage,
    at: datetime | None = None,
    *,
    own: Mapping[str, OwnPrice] | None = None,
    batch: bool = False,
) -> Usage:
    """One request's usage with `cost_usd` filled in, or with `unpriced_requests` where the price is unknown.

    `model` is `provider/model`; `own` is the settings' `prices`; `at` is when the request was made (default: now).
    Price requests one by one and add them up: a long prompt may have rates of its own.
    """
    cost = cost_of(model, usage, at, own=own, batch=batch)
    if cost is None:
        return usage.model_copy(update={"cost_usd": Decimal(0), "unpriced_requests": max(1, usage.requests)})
    return usage.model_copy(update={"cost_usd": cost, "unpriced_requests": 0})


def cost_of(
    model: str,
    usage: Usage,
    at: datetime | None = None,
    *,
    own: Mapping[str, OwnPrice] | None = None,
    batch: bool = False,
) -> Decimal | None:
    """USD for one request's usage; None where the price is unknown."""
    known = rates(model, at, own=own, batch=batch)
    return None if known is None else known.cost(usage)


def rates(
    model: str, at: datetime | None = None, *, own: Mapping[str, OwnPrice] | None = None, batch: bool = False
) -> Rates | None:
    """USD per million tokens of `provider/model` at a time (default: now); None where unknown."""
    if own and model in own:
        return own_rates(own[model])
    if at is None and not batch and (quick := _excerpt().get(model)) is not None:
        return quick
    return _published(model, at, batch)


def own_rates(price: OwnPrice) -> Rates:
    """The user's figures as rates: what they leave out about caches costs as much as plain input."""
    return Rates(
        input=price.input,
        output=price.output,
        cache_read=price.input if price.cache_read is None else price.cache_read,
        cache_write_5m=price.input if price.cache_write_5m is None else price.cache_write_5m,
        cache_write_1h=price.input if price.cache_write_1h is None else price.cache_write_1h,
    )


def rates_from(data: Mapping[str, Any]) -> Rates:
    """Rates from their JSON form, in which figures are texts."""
    figures = {name: None if data[name] is None else Decimal(data[name]) for name in FIELDS}
    longer = tuple((start, rates_from(more)) for start, more in data.get("longer", ()))
    return Rates(**figures, longer=longer)  # type: ignore[arg-type]


FIELDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


@cache
def _excerpt() -> dict[str, Rates]:
    """`prices.json`, or nothing when it was made from another genai-prices than the installed one."""
    data = json.loads(EXCERPT.read_text(encoding="utf-8"))
    if data["data_bytes"] != installed_data_bytes():
        return {}
    return {model: rates_from(entry) for model, entry in data["models"].items()}


def well_known(provider: str) -> tuple[str, ...]:
    """Names of a provider's present models, as far as they are in the excerpt: not all there are."""
    known = json.loads(EXCERPT.read_text(encoding="utf-8"))["models"]
    return tuple(sorted(name for owner, _, name in (model.partition("/") for model in known) if owner == provider))


def installed_data_bytes() -> int:
    """The size of the installed genai-prices' data: what tells one edition from another without importing it."""
    spec = importlib.util.find_spec("genai_prices")
    origin = spec.origin if spec else None
    return Path(origin).with_name("data.py").stat().st_size if origin else -1


def _published(model: str, at: datetime | None, batch: bool) -> Rates | None:
    found: Rates | None = importlib.import_module("harness.published_prices").published(model, at, batch)
    return found
