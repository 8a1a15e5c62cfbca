"""Plano's recorded behaviour in choosing: router models, ranking, prices, sessions and the routing budget."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from pydantic import ValidationError

from harness.config.settings import RoutePreference
from harness.pricing import Rates as Prices
from harness.pricing import cost_of
from harness.routing import feeds
from harness.routing.affinity import (
    Affinity,
    MemoryPins,
    Session,
    StoreDown,
    derived_session,
    prefix_hash,
    session_of,
    store_key,
)
from harness.routing.preferences import PreferenceRouter
from harness.routing.redis_pins import NAMESPACE
from harness.routing.router_model import (
    BYTES_PER_TOKEN,
    CONTEXT_TOKENS,
    TEMPERATURE,
    Form,
    RouterDown,
    parse_reply,
    prompt,
    spaced_json,
    trim_middle,
    upstream_message,
)
from harness.routing.selection import ADDRESSES, Metrics, address, parse, ranked
from harness.routing.switching import (
    Pin,
    Proposal,
    Rates,
    RoutingBudget,
    Settled,
    Warmed,
    Warmth,
    is_warm,
    percent_in,
    settle,
    switch_cost,
)
from harness.routing.turns import from_messages
from harness.types import Usage
from tests.conformance import cases
from tests.fakes.catalogue import Catalogue

KINDS = (
    "cached_input_rate", "constants", "implicit_session_key", "implicit_session_key.relation",
    "latency_parse.prometheus", "max_switch_spend_pct_header", "model_rates_lookup", "obs_cost", "obs_cost_lookup",
    "obs_parse_do", "obs_parse_models_dev", "obs_price_lookup", "parse_router_reply.arch_router_legacy",
    "parse_router_reply.orchestrator", "pricing_parse.digitalocean", "pricing_parse.models_dev",
    "prompt_build.arch_router_legacy", "prompt_build.constants", "prompt_build.orchestrator",
    "prompt_build.orchestrator_properties", "provider_cache_capability", "rank_models", "redis_key", "redis_value",
    "request_cost_usd", "resolve_session", "reuse_prior_decision", "router_upstream_error_message",
    "routing_budget_config", "routing_budget_effective", "session_cache", "semantic_route", "session_route",
    "session_route_sequence",     "spaced_json", "switch_cost_usd", "trim_middle_utf8", "warmth",
)  # fmt: skip
NOW = 1_000_000.0
SESSION = Session(id="s1", key="s1", explicit=True)


def dec(value: float | str) -> Decimal:
    return Decimal(str(value))


def rates_of(row: Mapping[str, Any]) -> Rates:
    cached = row.get("cache_read")
    return Rates(
        input=dec(row["input"]), output=dec(row.get("output", 0)), cache_read=None if cached is None else dec(cached)
    )


def routes_of(case: dict[str, Any]) -> list[RoutePreference]:
    return [RoutePreference(name=row["name"], description=row["description"]) for row in case["input"]["routes"]]


# The embedded classifier, where Plano asks a router model


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("case", cases.of("semantic_route"))
def test_described_routes(case: dict[str, Any], renamed: bool) -> None:
    """By description alone, too: no route is known by its name."""
    rows, expected = case["config"]["routing_preferences"], case["expected"]
    models = {f"r{number}" if renamed else row["name"]: row["models"] for number, row in enumerate(rows)}
    routes = [
        RoutePreference(name=name, description=row["description"]) for name, row in zip(models, rows, strict=True)
    ]
    match = PreferenceRouter(routes).classify(case["request"]["body"]["messages"][-1]["content"])
    served = models[match.route] if match.route else ["none"]
    assert served[0] == expected.get("models_first", expected.get("models", [""])[0]), match.why


# Router models


@pytest.mark.parametrize("case", cases.of("parse_router_reply.arch_router_legacy", "parse_router_reply.orchestrator"))
def test_router_reply(case: dict[str, Any]) -> None:
    expected, names = case["expected"], [route.name for route in routes_of(case)]
    if expected.get("error"):
        with pytest.raises(RouterDown):
            parse_reply(case["input"]["content"], names)
        return
    listed = expected["route"] if "route" in expected else expected["routes"]
    first = listed[0] if isinstance(listed, list) else listed
    assert parse_reply(case["input"]["content"], names) == first


@pytest.mark.parametrize(
    "case",
    cases.of("prompt_build.arch_router_legacy", "prompt_build.orchestrator", "prompt_build.orchestrator_properties"),
)
def test_router_prompt(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    form: Form = "arch_router" if "arch_router" in case["kind"] else "orchestrator"
    got = prompt(routes_of(case), from_messages(given["messages"]), form, given["max_token_length"])
    assert got == expected.get("prompt", got)
    for text in expected.get("prompt_contains", ()):
        assert text in got
    for text in expected.get("prompt_not_contains", ()):
        assert text not in got


@pytest.mark.parametrize("case", cases.of("prompt_build.constants"))
def test_prompt_figures(case: dict[str, Any]) -> None:
    expected = case["expected"]
    template = (files("harness.routing") / "data" / "arch_router.txt").read_bytes()
    assert abs(len(template) // BYTES_PER_TOKEN - expected["template_tokens_est"]) <= 3  # placeholders differ in name
    assert CONTEXT_TOKENS["arch_router"] == expected["default_max_token_length"]
    assert expected["temperature"] == TEMPERATURE
    assert from_messages([{"role": role, "content": "x"} for role in expected["dropped_roles"]]) == ()


@pytest.mark.parametrize("case", cases.of("spaced_json"))
def test_spaced_json(case: dict[str, Any]) -> None:
    assert spaced_json(case["input"]) == case["expected"]["text"]


@pytest.mark.parametrize("case", cases.of("trim_middle_utf8"))
def test_trim_middle(case: dict[str, Any]) -> None:
    expected = case["expected"]
    got = trim_middle(case["input"]["text"], case["input"]["max_bytes"])
    assert got == expected.get("text", got)
    assert len(got.encode()) <= case["input"]["max_bytes"]
    assert set(got) <= set(expected.get("only_chars", got))


@pytest.mark.parametrize("case", cases.of("router_upstream_error_message"))
def test_what_a_failing_router_says(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    text, times = given.get("body_repeat", (given.get("body"), 1))
    got = upstream_message(text * times)
    assert got == expected.get("message", got)
    assert len(got.encode()) == expected.get("length_bytes", len(got.encode()))


# Ranking and prices


@pytest.mark.parametrize("case", cases.of("rank_models"))
def test_rank(case: dict[str, Any]) -> None:
    given = case["input"]
    values = {"cheapest": given["cost"], "fastest": given["latency"], "none": {}}[given["prefer"]]
    got = ranked(given["models"], {model: float(value) for model, value in values.items()})
    assert list(got) == case["expected"]["models"]


@pytest.mark.parametrize(
    "case", cases.of("pricing_parse.digitalocean", "pricing_parse.models_dev", "latency_parse.prometheus")
)
def test_catalogues(case: dict[str, Any]) -> None:
    provider = case["kind"].partition(".")[2].replace("models_dev", "models.dev")
    source = Catalogue(provider, aliases=case["input"].get("model_aliases"))
    metrics, expected = parse(source, case["input"]["payload"]), case["expected"]
    assert metrics.latency == expected.get("latency", metrics.latency)
    assert metrics.cost == pytest.approx(expected.get("blended", metrics.cost))
    for model, row in expected.get("rates_per_million", {}).items():
        assert metrics.rates[model] == rates_of(row)
    for model, rate in expected.get("cached_input_rate_at_discount_0.1", {}).items():
        assert metrics.rates[model].cached(dec("0.1")) == dec(rate)
    assert not set(expected.get("absent_keys", ())) & {*metrics.rates, *metrics.latency}


@pytest.mark.parametrize("case", cases.of("obs_parse_do", "obs_parse_models_dev", "obs_cost_lookup"))
def test_console_catalogues(case: dict[str, Any]) -> None:
    provider = "digitalocean" if case["kind"] == "obs_parse_do" else "models.dev"
    metrics, expected = parse(Catalogue(provider), case["input"]["payload"]), case["expected"]
    for model, figure in expected.get("input_per_token", {}).items():
        assert metrics.rates[model].input == dec(figure) * 1_000_000
        assert metrics.rates[model].output == dec(expected["output_per_token"][model]) * 1_000_000
    for model, figures in expected.get("per_token", {}).items():
        rates = metrics.rates[model]
        assert [rates.input, rates.output, rates.cache_read] == [dec(figure) * 1_000_000 for figure in figures]
    assert not set(expected.get("absent", ())) & set(metrics.rates)
    assert "usd" not in expected or _console_cost(case, metrics) == dec(expected["usd"])


def _console_cost(case: dict[str, Any], metrics: Metrics) -> Decimal:
    rates = metrics.rate(case["input"]["model"])
    assert rates is not None
    prompt_tokens, completion = int(case["input"]["prompt"]), int(case["input"]["completion"])
    return (prompt_tokens * rates.input + completion * rates.output) / 1_000_000


@pytest.mark.parametrize("case", cases.of("model_rates_lookup", "obs_price_lookup"))
def test_rates_are_found_without_the_provider(case: dict[str, Any]) -> None:
    given, found = case["input"], case["expected"]["found"]
    metrics = Metrics(rates={name: Rates(input=1, output=1) for name in given.get("rates_keys") or given["prices"]})
    wanted = found if isinstance(found, dict) else dict(zip(given["lookup"], found, strict=True))
    assert {name: metrics.rate(name) is not None for name in given["lookup"]} == wanted


@pytest.mark.parametrize("case", cases.of("obs_cost", "request_cost_usd"))
def test_a_requests_cost(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    if "price" in given:
        if given["price"] is None:
            usage = Usage(requests=1, input_tokens=given["prompt"], output_tokens=given["completion"])
            assert cost_of("unheard/of", usage) is expected["usd"]
            return
        row = {name: dec(value) * 1_000_000 for name, value in given["price"].items()}
        figures = row["input_per_token"], row["output_per_token"], row["cached_per_token"]
        read, prompt_tokens, completion, wanted = given["cached"], given["prompt"], given["completion"], expected["usd"]
    else:
        row = {name: dec(value) for name, value in given["rates"].items()}
        figures = row["input"], row["output"], row["cache_read"]
        read, prompt_tokens, completion = (
            given[name] for name in ("cached_input_tokens", "prompt_tokens", "completion_tokens")
        )
        wanted = expected["input_usd"] + expected["output_usd"]
    prices = Prices(*figures, cache_write_5m=figures[0], cache_write_1h=figures[0])
    usage = Usage(requests=1, input_tokens=prompt_tokens - read, cache_read_tokens=read, output_tokens=completion)
    assert float(prices.cost(usage) or 0) == pytest.approx(wanted)


@pytest.mark.parametrize("case", cases.of("cached_input_rate"))
def test_cached_rate(case: dict[str, Any]) -> None:
    given = case["input"]
    assert rates_of(given).cached(dec(given["discount"])) == dec(case["expected"]["rate"])


@pytest.mark.parametrize("case", cases.of("constants"))
def test_sources(case: dict[str, Any]) -> None:
    for provider in ADDRESSES:
        assert address(Catalogue(provider)) == case["expected"][provider]
    assert case["expected"]["connect_timeout_s"] == feeds.CONNECT_SECONDS
    assert case["expected"]["request_timeout_s"] == feeds.ANSWER_SECONDS


# Sessions


@pytest.mark.parametrize("case", cases.of("implicit_session_key", "implicit_session_key.relation"))
def test_derived_ids(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    if "messages" in given:
        assert derived_session(given["messages"]) == expected["session_key"]
        return
    pair = (given["a"], given["b"])
    a, b = (derived_session(row["messages"], row.get("tool_names", ()), row.get("tenant")) for row in pair)
    assert a and b and (a == b) is expected["session_key_equal"]
    heads = [prefix_hash(row["messages"], row.get("tool_names", ())) for row in pair]
    assert (heads[0] == heads[1]) is expected.get("prefix_hash_equal", heads[0] == heads[1])


@pytest.mark.parametrize("case", cases.of("resolve_session"))
def test_the_sessions_header(case: dict[str, Any]) -> None:
    session = session_of({"x-model-affinity": case["input"]["x_model_affinity"], "x-session-id": "other"})
    assert session is not None and session.id == case["expected"]["session_id"]


@pytest.mark.parametrize("case", cases.of("redis_key"))
def test_redis_key(case: dict[str, Any]) -> None:
    given = case["input"]
    assert NAMESPACE + store_key(given["session_id"], given["tenant"]) == case["expected"]["key"]


@pytest.mark.parametrize("case", cases.of("redis_value"))
def test_redis_value(case: dict[str, Any]) -> None:
    names = {name.rstrip("?").split("(")[0].split("[")[0] for name in case["expected"]["fields"]}
    assert names <= set(Pin.model_fields)


class DownStore(MemoryPins):
    async def get(self, key: str) -> Pin | None:
        raise StoreDown("down")

    async def put(self, key: str, pin: Pin, ttl_seconds: float | None = None) -> None:
        raise StoreDown("down")


@pytest.mark.parametrize("case", cases.of("session_cache"))
async def test_store(case: dict[str, Any]) -> None:
    config, expected = case["config"], case["expected"]
    if "backend" in config:
        affinity = Affinity(DownStore())
        await affinity.settle(SESSION, Proposal(models=("gpt-4o",)))
        assert await affinity.held(SESSION) is None and affinity.problem
        return
    if "session_max_entries" in config:
        assert MemoryPins(600, config["session_max_entries"]).max_entries == expected["effective_max_entries"]
        assert MemoryPins().max_entries == expected["default"]
        return
    store, got = MemoryPins(config["ttl"], config["max"]), []
    for action, key, *rest in case["input"]["steps"]:
        if action == "get":
            got.append(await store.get(key))
            continue
        fields = rest[0] if isinstance(rest[0], dict) else {"anchor_model": rest[0]}
        await store.put(key, Pin(**fields), rest[1]["ttl"] if len(rest) > 1 else None)
    for key in (*expected.get("present", ()), *expected.get("absent", ())):
        assert ((await store.get(key)) is not None) is (key in expected["present"])
    wanted = expected.get("get", ...)
    if isinstance(wanted, dict):
        assert got[-1] is not None
        told = {name: getattr(got[-1], name) for name in wanted}
        assert {name: float(v) if isinstance(v, Decimal) else v for name, v in told.items()} == wanted
    elif wanted is not ...:
        assert got == (wanted if isinstance(wanted, list) else [wanted])


def pin_of(row: Mapping[str, Any]) -> Pin:
    fields = {name: value for name, value in row.items() if name != "idle_seconds"}
    history = tuple(
        Warmed(model=old["model"], last_used=NOW - old.get("idle_seconds", 0), cached_tokens=old["cached_tokens"])
        for old in fields.pop("history", ())
    )
    money = {name: dec(fields.pop(name)) for name in ("baseline_usd", "switch_spend_usd") if name in fields}
    return Pin(**fields, **money, history=history, last_used=NOW - row["idle_seconds"])


def same(settled: Settled, expected: Mapping[str, Any]) -> None:
    got = {
        "model": settled.model, "warm": settled.reason not in ("new", "cold"), "switches": settled.pin.switches,
        "switched": settled.switched, "route_name": settled.route, "default_model": settled.pin.default_model,
        "baseline_usd": float(settled.pin.baseline_usd), "switch_spend_usd": float(settled.pin.switch_spend_usd),
        "reason": settled.reason,
    }  # fmt: skip
    assert {name: got[name] for name in expected} == expected


def budget_of(config: Mapping[str, Any]) -> RoutingBudget | None:
    given = config["routing_budget"]
    return None if given is None else RoutingBudget(**{n: dec(v) if type(v) is float else v for n, v in given.items()})


def lookup(config: Mapping[str, Any]) -> dict[str, Rates]:
    return {model: rates_of(row) for model, row in config.get("rates_per_million", {}).items()}


@pytest.mark.parametrize("case", cases.of("session_route"))
def test_a_turns_decision(case: dict[str, Any]) -> None:
    given, config = case["input"], case["config"]
    proposal = Proposal(
        models=(given["candidate_model"],), prefix_hash=given["prefix_hash"], context_tokens=given["context_tokens"]
    )
    pin = pin_of(given["binding"]) if given["binding"] else None
    same(settle(pin, proposal, now=NOW, budget=budget_of(config), rates=lookup(config).get), case["expected"])


@pytest.mark.parametrize("case", cases.of("session_route_sequence"))
async def test_a_sessions_decisions(case: dict[str, Any]) -> None:
    given, config = case["input"], case["config"]
    if "steps" in given:
        bound, reused, routed = (next(iter(step.values())) for step in given["steps"])
        store = MemoryPins()
        await store.put("s1", pin_of(bound))
        affinity = Affinity(store, clock=lambda: NOW)
        assert await affinity.replayed(SESSION, reused["requested_model"], reused["prefix_hash"])
        pin = await store.get("s1")
        assert pin is not None and NOW - pin.last_used < case["expected"]["last_used_age_less_than_s"]
        proposal = Proposal(models=(routed["candidate_model"],), prefix_hash=routed["prefix_hash"])
        same(settle(pin, proposal, now=NOW), {name: case["expected"][name] for name in ("model", "switches", "warm")})
        return
    pin, budget, first = None, budget_of(config), None
    for turn in range(66):
        row = next(r for r in given["turns"] if turn == r.get("turn")) if turn in (0, 63, 64, 65) else given["turns"][1]
        proposal = Proposal(models=(row["candidate"],), prefix_hash=1, context_tokens=given["context_tokens"])
        settled = settle(pin, proposal, now=NOW + turn, budget=budget, rates=lookup(config).get)
        pin = settled.pin
        first = turn if settled.switched and first is None else first
        expected = dict(row["expect"])
        if expected.get("baseline_usd") == "0.03*turn":
            expected["baseline_usd"] = float(dec("0.03") * turn)
        same(settled, expected)
        assert pin.switch_spend_usd <= dec("0.25") * pin.baseline_usd
    assert first == case["expected"]["first_switch_turn"]


@pytest.mark.parametrize("case", cases.of("reuse_prior_decision"))
async def test_a_tool_turn_replays(case: dict[str, Any]) -> None:
    given, store = case["input"], MemoryPins()
    if given["binding"]:
        await store.put("s1", pin_of(given["binding"]))
    held = await Affinity(store, clock=lambda: NOW).replayed(SESSION, given["requested_model"], given["prefix_hash"])
    assert (held and {"model": held.model, "route_name": held.route}) == case["expected"]


@pytest.mark.parametrize("case", cases.of("max_switch_spend_pct_header"))
def test_the_budgets_header(case: dict[str, Any]) -> None:
    got = percent_in(case["request"]["headers"]["x-plano-max-switch-spend-pct"])
    assert (None if got is None else float(got)) == case["expected"]["pct"]


@pytest.mark.parametrize("case", cases.of("routing_budget_config", "routing_budget_effective"))
def test_the_budget(case: dict[str, Any]) -> None:
    config, expected = case.get("config"), case["expected"]
    if expected.get("error"):
        with pytest.raises(ValidationError):
            RoutingBudget.model_validate(config)
        return
    if config is None:
        assert Affinity(MemoryPins()).budget is expected["budget"]
        return
    headers = case.get("request", {}).get("headers", {})
    got = RoutingBudget.model_validate(config).overridden(headers.get("x-plano-max-switch-spend-pct"))
    assert {name: getattr(got, name) for name in expected} == expected


@pytest.mark.parametrize("case", cases.of("switch_cost_usd"))
def test_switch_cost(case: dict[str, Any]) -> None:
    given = case["input"]
    rates = (given["anchor_read_rate"], given["candidate_uncached_rate"], given["candidate_cached_rate"])
    cost = switch_cost(given["context_tokens"], given["candidate_warm_tokens"], *(dec(rate) for rate in rates))
    assert cost == dec(case["expected"]["usd"])


@pytest.mark.parametrize("case", cases.of("warmth", "provider_cache_capability"))
def test_warmth(case: dict[str, Any]) -> None:
    given, names = case["input"], ("idle_ttl", "hard_ttl", "extended_retention", "extended_ttl")
    if "models" in given:
        wanted = {name.removesuffix("_s"): value for name, value in case["expected"]["all"].items()}
        assert Warmth().model_dump() == wanted
        return
    warmth = Warmth(**{name: given[name] for name in names})
    pin = Pin(anchor_model="m", last_used=NOW - given["idle_seconds"])
    assert is_warm(pin, None, NOW, warmth) is case["expected"]["warm"]
