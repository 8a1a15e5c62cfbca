"""The cheapest or fastest model first, from catalogues that answer, answer nonsense, or are down."""

from __future__ import annotations

import httpx2
import pytest

from harness.routing.feeds import Feeds
from harness.routing.selection import BadCatalogue, Metrics, order, parse
from harness.routing.switching import Rates
from tests.fakes.catalogue import Catalogue

POOL = ("x/dear", "x/unknown", "x/cheap")
PAYLOAD = {
    "x": {"models": {"dear": {"cost": {"input": 5, "output": 25}}, "cheap": {"cost": {"input": 1, "output": 2}}}}
}


def test_order() -> None:
    rates = {"x/dear": Rates(input=5, output=25), "x/cheap": Rates(input=1, output=2)}
    metrics = Metrics(rates=rates, latency={"x/unknown": 0.1})
    assert order(POOL, "none", metrics) == POOL
    assert order(POOL, "cheapest", metrics) == ("x/cheap", "x/dear", "x/unknown")
    assert order(POOL, "fastest", metrics) == ("x/unknown", "x/dear", "x/cheap")


def test_another_form_is_refused() -> None:
    with pytest.raises(BadCatalogue, match=r"models\.dev"):
        parse(Catalogue("models.dev"), [1, 2])


def test_offline_prices_serve_without_a_catalogue() -> None:
    pool = ("anthropic/claude-opus-4-5", "anthropic/claude-haiku-4-5")
    assert order(pool, "cheapest", Feeds(models=pool).metrics) == pool[::-1]


def test_models_that_a_request_brings_along_have_offline_prices_too() -> None:
    pool = ("anthropic/claude-opus-4-5", "anthropic/claude-haiku-4-5", "nobody/nothing")
    feeds = Feeds()
    assert order(pool, "cheapest", feeds.metrics) == pool
    feeds.know(pool)
    assert order(pool, "cheapest", feeds.metrics) == (pool[1], pool[0], pool[2])
    priced = Feeds([Catalogue("models.dev")])
    priced.know(pool)
    assert order(pool, "cheapest", priced.metrics) == pool, "two catalogues' prices do not compare"


async def test_a_failed_refresh_keeps_the_last_good_prices() -> None:
    now, answers = [0.0], [httpx2.Response(200, json=PAYLOAD), httpx2.Response(503)]
    source = Catalogue("models.dev")
    source.refresh_interval = 30
    transport = httpx2.MockTransport(lambda request: answers.pop(0))
    feeds = Feeds([source], POOL, client=lambda: httpx2.AsyncClient(transport=transport), clock=lambda: now[0])
    assert await feeds.refresh() == 30
    now[0] = 31
    await feeds.refresh()
    assert order(POOL, "cheapest", feeds.metrics)[0] == "x/cheap"
    status = feeds.status()[0]
    assert (status.models, status.age_seconds, status.problem) == (2, 31, "it answered 503 Service Unavailable")
