"""Which of a route's models is tried first: the cheapest, the fastest, or as written.

`order` is pure; the figures come from `feeds.py`, or offline from the prices shipped with genai-prices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol

from harness.errors import HarnessError
from harness.routing.switching import Rates
from harness.types import Value

Policy = Literal["cheapest", "fastest", "none"]

PER_TOKEN_BELOW = Decimal("0.001")
"""DigitalOcean's `…_per_million` fields hold dollars per token. Below this a figure can only be one: no model costs
less than a tenth of a cent, and none a thousand dollars, per million tokens."""


class Source(Protocol):
    """What is fetched, from where, how often; `config/gateway.py` reads it as `MetricsSource`."""

    @property
    def type(self) -> str:
        """`cost` or `latency`."""

    @property
    def provider(self) -> str:
        """`digitalocean`, `models.dev`, `prometheus`, or `embedded`: the prices shipped with genai-prices."""

    @property
    def url(self) -> str | None: ...

    @property
    def query(self) -> str | None:
        """Of Prometheus: one value a model, labelled `model_name`."""

    @property
    def refresh_interval(self) -> float | None:
        """Seconds; None fetches once."""

    @property
    def model_aliases(self) -> Mapping[str, str]:
        """The source's name for a model → the name used in routes."""


ADDRESSES = {
    "digitalocean": "https://api.digitalocean.com/v2/gen-ai/models/catalog",
    "models.dev": "https://models.dev/api.json",
}
"""Default addresses (Plano's documentation)."""


def address(source: Source) -> str | None:
    """Where a source is fetched from; None: nothing is fetched."""
    if source.provider == "prometheus":
        return (source.url or "").rstrip("/") + "/api/v1/query"
    return source.url or ADDRESSES.get(source.provider)


class Metrics(Value):
    """What is known of models now: rates and latencies by `provider/model`."""

    rates: dict[str, Rates] = {}
    latency: dict[str, float] = {}
    """Seconds, or whatever the query gives; only compared."""

    def rate(self, model: str) -> Rates | None:
        """A model's rates by its full name, else by its name without the provider."""
        return self.rates.get(model) or self.rates.get(model.rpartition("/")[2])

    @property
    def cost(self) -> dict[str, float]:
        return {model: float(rates.blended) for model, rates in self.rates.items()}


class BadCatalogue(HarnessError):
    """A metrics source answered with something that is not its provider's form."""


def order(pool: Sequence[str], policy: Policy, metrics: Metrics) -> tuple[str, ...]:
    """The pool with the cheapest or fastest model first; models without data last, in their own order."""
    if policy == "none":
        return tuple(pool)
    return ranked(pool, metrics.cost if policy == "cheapest" else metrics.latency)


def ranked(pool: Sequence[str], values: Mapping[str, float]) -> tuple[str, ...]:
    """Models by ascending value; NaN counts as no data, ties keep their order."""

    def key(model: str) -> float:
        value = values.get(model, math.nan)
        return math.inf if math.isnan(value) else value

    return tuple(sorted(pool, key=key))


def parse(source: Source, payload: Any) -> Metrics:
    """A source's answer as metrics, under the names that routes use; raises BadCatalogue.

    Entries that lack a figure are left out; a whole answer without any entry is not what was asked for.
    """
    readers = {"digitalocean": _digitalocean, "models.dev": _models_dev, "prometheus": _prometheus}
    try:
        metrics = readers[source.provider](payload)
    except (AttributeError, KeyError, TypeError):
        raise BadCatalogue(
            f"{address(source)} did not answer in the form of {source.provider}",
            f"check `provider` and `url` of the {source.type} source",
        ) from None
    renamed = source.model_aliases
    return Metrics(
        rates={renamed.get(name, name): rates for name, rates in metrics.rates.items()},
        latency={renamed.get(name, name): value for name, value in metrics.latency.items()},
    )


def _digitalocean(payload: Any) -> Metrics:
    rates = {}
    for entry in payload["data"]:
        prices = entry.get("pricing") or {}
        found = _rates(
            prices.get("input_price_per_million"),
            prices.get("output_price_per_million"),
            prices.get("cache_read_input_price_per_million", prices.get("input_cache_read")),
        )
        if found and entry.get("model_id"):
            rates[str(entry["model_id"])] = _per_million(found)
    return Metrics(rates=rates)


def _models_dev(payload: Any) -> Metrics:
    rates = {}
    for provider, entry in payload.items():
        for model, details in (entry.get("models") or {}).items():
            cost = details.get("cost") or {}
            found = _rates(cost.get("input"), cost.get("output"), cost.get("cache_read"))
            if found:
                rates[f"{provider}/{model}"] = found
    return Metrics(rates=rates)


def _prometheus(payload: Any) -> Metrics:
    if payload["status"] != "success":
        raise BadCatalogue(f"Prometheus refused the query: {payload.get('error', 'no reason given')}", "check `query`")
    latency = {}
    for series in payload["data"]["result"]:
        model = series["metric"].get("model_name")
        value = _number(series["value"][1])
        if model and value is not None:
            latency[str(model)] = float(value)
    return Metrics(latency=latency)


def _rates(rate_in: Any, rate_out: Any, cached: Any) -> Rates | None:
    input_, output, cache_read = _number(rate_in), _number(rate_out), _number(cached)
    if input_ is None or output is None:
        return None
    return Rates(input=input_, output=output, cache_read=cache_read)


def _per_million(rates: Rates) -> Rates:
    if max(rates.input, rates.output) >= PER_TOKEN_BELOW:
        return rates
    million = Decimal(1_000_000)
    cached = None if rates.cache_read is None else (rates.cache_read * million).normalize()
    return Rates(
        input=(rates.input * million).normalize(), output=(rates.output * million).normalize(), cache_read=cached
    )


def _number(value: Any) -> Decimal | None:
    """A finite, non-negative figure, or None."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None
