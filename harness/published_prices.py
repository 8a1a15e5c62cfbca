"""Rates from genai-prices, as a file that loads fast. `python -m harness.published_prices` rewrites prices.json.

Figures are the library's (https://github.com/pydantic/genai-prices); what it does not know stays unknown.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from harness.pricing import EXCERPT, FIELDS, Rates, installed_data_bytes

BATCH = {"processing": "batch"}
ONE_HOUR_WRITE = 2
"""Times the input rate, where only the five-minute write is published: Anthropic's rule for all its models."""

_EXCERPTED = {
    "anthropic": re.compile(r"claude-(haiku|sonnet|opus)-(4-[5-9]|5.*)"),
    "openai": re.compile(r"gpt-(4\.1|5)(\.\d)?(-mini|-nano|-pro|-codex|-codex-mini)?"),
    "google": re.compile(r"gemini-(2\.5|3(\.\d)?)-(flash|flash-lite|pro)(-preview)?"),
}
"""Provider → models worth having without the import."""


def published(model: str, at: datetime | None, batch: bool) -> Rates | None:
    """The published rates of `provider/model`; None where genai-prices knows no such model or no input rate of it."""
    info = _find(model)
    if info is None:
        return None
    return _rates(info.get_prices(at or datetime.now(UTC), BATCH if batch else None))


@cache
def _find(model: str) -> ModelInfo | None:
    provider, _, name = model.partition("/")
    if not name:
        return None
    try:
        return get_snapshot().find_provider_model(name, None, provider, None)[1]
    except LookupError:
        return None


def _rates(prices: ModelPrice) -> Rates | None:
    starts = {tier.start for price in vars(prices).values() if isinstance(price, TieredPrices) for tier in price.tiers}
    base = _rates_above(prices, None)
    if base is None or not starts:
        return base
    longer = tuple((start, rates) for start in sorted(starts) if (rates := _rates_above(prices, start)) is not None)
    return base._replace(longer=longer)


def _rates_above(prices: ModelPrice, start: int | None) -> Rates | None:
    """The rates of prompts just above `start` tokens. A cache rate that is not published is the plain input rate's."""

    def one(name: str) -> Decimal | None:
        value = getattr(prices, name)
        if not isinstance(value, TieredPrices):
            return value if value is None or isinstance(value, Decimal) else Decimal(str(value))
        steps = [tier.price for tier in value.tiers if start is not None and tier.start <= start]
        return Decimal(steps[-1] if steps else value.base)

    plain = one("input_mtok")
    if plain is None:
        return None
    write, read = one("cache_write_mtok"), one("cache_read_mtok")
    short = one("cache_write_5m_mtok") or write
    long = one("cache_write_1h_mtok")
    if long is None:
        long = plain if short is None else plain * ONE_HOUR_WRITE
    return Rates(plain, one("output_mtok"), plain if read is None else read, plain if short is None else short, long)


def excerpt() -> dict[str, Any]:
    """What `prices.json` should hold: models whose price does not depend on the date."""
    models: dict[str, Any] = {}
    for provider in get_snapshot().providers:
        wanted = _EXCERPTED.get(provider.id)
        for info in provider.models if wanted else ():
            if not wanted or not wanted.fullmatch(info.id) or not isinstance(info.prices, ModelPrice):
                continue
            name = f"{provider.id}/{info.id}"
            rates = published(name, None, False)
            if rates is not None and _find(name) is info:
                models[name] = _plain(rates)
    return {
        "source": f"genai-prices {version('genai-prices')}, USD per million tokens; made by harness.published_prices",
        "data_bytes": installed_data_bytes(),
        "models": models,
    }


def _plain(rates: Rates) -> dict[str, Any]:
    plain: dict[str, Any] = {
        name: None if getattr(rates, name) is None else str(getattr(rates, name)) for name in FIELDS
    }
    return plain | ({"longer": [[start, _plain(more)] for start, more in rates.longer]} if rates.longer else {})


if __name__ == "__main__":
    EXCERPT.write_text(json.dumps(excerpt(), indent=1) + "\n", encoding="utf-8")
