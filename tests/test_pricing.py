"""Prices: known answers, tiers by prompt length, caches, dates, the user's own, and what stays unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as LibraryUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from harness import published_prices
from harness.config.settings import DEFAULT_TIERS, OwnPrice
from harness.pricing import EXCERPT, Rates, cost_of, price, rates
from harness.types import Usage

OPUS_4_7 = "anthropic/claude-opus-4-7"
HAIKU = "anthropic/claude-haiku-5-5"


def test_a_known_bill() -> None:
    usage = Usage(requests=1, input_tokens=6, cache_write_5m_tokens=159_217, output_tokens=2_745)
    assert cost_of(OPUS_4_7, usage) == Decimal("1.06376125")
    assert price(OPUS_4_7, usage).cost_usd == Decimal("1.06376125")


def test_every_default_model_has_a_price() -> None:
    for models in DEFAULT_TIERS.values():
        assert all(rates(model) is not None for model in models)


def test_an_unknown_price_is_not_zero() -> None:
    usage = Usage(requests=1, input_tokens=10, output_tokens=10)
    assert cost_of("ollama/llama3", usage) is None
    assert cost_of("anthropic/claude-nobody-knows", usage) is None
    assert cost_of("no-provider", usage) is None
    assert price("ollama/llama3", usage).unpriced_requests == 1
    assert price("ollama/llama3", usage).cost_usd == 0


def test_a_model_without_an_output_price_does_not_write_for_nothing() -> None:
    embedding = "openai/text-embedding-3-small"
    assert cost_of(embedding, Usage(requests=1, input_tokens=1_000_000)) == Decimal("0.02")
    silent = Rates(Decimal(1), None, Decimal(1), Decimal(1), Decimal(1))
    assert silent.cost(Usage(requests=1, input_tokens=5, output_tokens=1)) is None


def test_a_one_hour_write_costs_twice_the_input() -> None:
    million = Usage(requests=10_000, cache_write_1h_tokens=1_000_000)
    for model in (OPUS_4_7, HAIKU, "anthropic/claude-opus-5-5"):
        known = rates(model)
        assert known is not None
        assert cost_of(model, million) == known.input * 2


def test_a_long_prompt_has_rates_of_its_own() -> None:
    at, above = (Usage(requests=1, input_tokens=n, output_tokens=1000) for n in (100_000, 100_001))
    assert cost_of(HAIKU, at) == Decimal("0.0105")
    assert cost_of(HAIKU, above) == Decimal("0.0525005")


def test_cached_tokens_count_towards_the_prompts_length() -> None:
    usage = Usage(requests=1, input_tokens=1, cache_read_tokens=100_000)
    assert cost_of(HAIKU, usage) == (Decimal("0.05") * 100_000 + Decimal("0.5")) / 1_000_000


def test_a_sum_of_short_requests_is_no_long_prompt() -> None:
    one = Usage(requests=1, input_tokens=50_000, output_tokens=100)
    single = cost_of(HAIKU, one)
    assert single is not None
    assert cost_of(HAIKU, one + one + one) == single * 3


def test_batch_costs_half() -> None:
    usage = Usage(requests=1, input_tokens=1000, output_tokens=1000)
    full, half = cost_of(OPUS_4_7, usage), cost_of(OPUS_4_7, usage, batch=True)
    assert full is not None and half == full / 2


def test_the_users_price_stands_above_all() -> None:
    usage = Usage(requests=1, input_tokens=1_000_000, cache_read_tokens=1_000_000, output_tokens=1_000_000)
    own = {"ollama/llama3": OwnPrice(input=Decimal(1), output=Decimal(2)), HAIKU: OwnPrice(input=0, output=0)}
    assert cost_of("ollama/llama3", usage, own=own) == 4
    assert cost_of(HAIKU, usage, own=own) == 0
    assert cost_of(OPUS_4_7, usage, own=own) == cost_of(OPUS_4_7, usage)


def test_the_price_is_that_of_the_day() -> None:
    usage = Usage(requests=1, input_tokens=1_000_000)
    assert cost_of("openai/o3", usage, datetime(2025, 6, 9, tzinfo=UTC)) == 10
    assert cost_of("openai/o3", usage, datetime(2025, 6, 10, tzinfo=UTC)) == 2
    night, day = (datetime(2025, 6, 9, hour, tzinfo=UTC) for hour in (20, 12))
    assert cost_of("deepseek/deepseek-chat", usage, night) != cost_of("deepseek/deepseek-chat", usage, day)


def test_the_excerpt_is_what_the_installed_library_says() -> None:
    """Failing after an upgrade of genai-prices? Run `python -m harness.published_prices`."""
    assert json.loads(EXCERPT.read_text(encoding="utf-8")) == published_prices.excerpt()


@pytest.mark.parametrize(
    "model",
    [OPUS_4_7, HAIKU, "openai/gpt-4o-mini", "openai/gpt-5.5", "google/gemini-2.5-pro", "groq/llama-3.1-8b-instant"],
)
@given(*[st.integers(0, 400_000)] * 4)
def test_the_same_bill_as_the_library_makes(model: str, fresh: int, read: int, write: int, output: int) -> None:
    provider, _, name = model.partition("/")
    theirs = calc_price(
        LibraryUsage(
            input_tokens=fresh + read + write, cache_read_tokens=read, cache_write_tokens=write, output_tokens=output
        ),
        name,
        provider_id=provider,
    )
    ours = Usage(
        requests=1, input_tokens=fresh, cache_read_tokens=read, cache_write_5m_tokens=write, output_tokens=output
    )
    assert cost_of(model, ours) == theirs.total_price
