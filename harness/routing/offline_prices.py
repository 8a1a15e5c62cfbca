"""Rates from the prices shipped with genai-prices: `cheapest` works without a network and without a catalogue."""

from __future__ import annotations

from collections.abc import Iterable

from genai_prices import Usage, calc_price

from harness.routing.switching import Rates

SAMPLE = 1_000
"""Tokens priced: few enough for every model's lowest tier."""


def offline_rates(models: Iterable[str]) -> dict[str, Rates]:
    """USD per million tokens of those `provider/model` names whose price is known, at the shortest prompt length."""
    found = {model: _rates(model) for model in models}
    return {model: rates for model, rates in found.items() if rates is not None}


def _rates(model: str) -> Rates | None:
    provider, _, name = model.partition("/")
    try:
        plain = calc_price(
            Usage(input_tokens=SAMPLE, output_tokens=SAMPLE),
            model_ref=name or provider,
            provider_id=provider if name else None,
        )
        cached = calc_price(
            Usage(input_tokens=SAMPLE, cache_read_tokens=SAMPLE),
            model_ref=plain.model.id,
            provider_id=plain.provider.id,
        )
    except LookupError:
        return None
    scale = 1_000_000 // SAMPLE
    return Rates(
        input=(plain.input_price * scale).normalize(),
        output=(plain.output_price * scale).normalize(),
        cache_read=(cached.input_price * scale).normalize(),
    )
