"""Settings → a gateway that is ready to serve: one of each part, joined here and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any

import httpx2
import yaml

from harness.config.gateway_section import GatewaySection, GatewaySettings
from harness.config.gateway_section import Route as PreferenceRoute
from harness.config.settings import Settings
from harness.config.tracing import tracing_wanted
from harness.errors import MissingTool
from harness.gateway.cooldown import Cooldown
from harness.gateway.decide import Decider
from harness.gateway.exchange import Record
from harness.gateway.ledger import Ledger
from harness.gateway.service import Gateway
from harness.gateway.upstream import Upstream
from harness.pricing import price
from harness.routing.affinity import Affinity, MemoryPins, PinStore
from harness.routing.feeds import Feeds
from harness.routing.preferences import RouteMatcher
from harness.routing.router_model import RouterModel, http_post
from harness.routing.selection import Policy, order
from harness.routing.switching import Rates, RoutingBudget


def build_gateway(built: GatewaySettings, settings: Settings) -> Gateway:
    """Everything joined; nothing connects before the first request."""
    section = built.section
    feeds = _feeds(section)
    cooldown = Cooldown(section.limits.cooldown_seconds)
    router_model, closers = _router_model(section, cooldown)
    ask = section.router_model.ask if section.router_model else "first"
    matcher = RouteMatcher(section.route_threshold, model=router_model, ask=ask)
    affinity = _affinity(section, feeds)

    async def rank(models: Sequence[str], policy: str) -> tuple[str, ...]:
        if policy == "cheapest":
            feeds.know(models)
        return order(models, _POLICIES[policy], feeds.metrics)

    def priced(record: Record) -> None:
        assert record.usage is not None
        usage = price(record.model, record.usage, own=settings.prices)
        record.usd = None if usage.unpriced_requests else str(usage.cost_usd)

    decider = Decider(built, settings.tiers, matcher, affinity, rank, cooldown, built_in_routes())
    trace = _tracing(section, settings)
    parts: dict[str, Any] = {"affinity": affinity, "feeds": feeds, "trace": trace, "closers": closers}
    return Gateway(built, decider, Upstream(section.limits), cooldown, Ledger(), priced, **parts)


def _tracing(section: GatewaySection, settings: Settings) -> Any:
    """Spans of requests go to `trace_url`, else to the collector that settings or the environment name."""
    if section.trace_url is None and not tracing_wanted(settings):
        return None
    try:
        tracing = import_module("harness.gateway.tracing")
    except ModuleNotFoundError:
        asked = "gateway > trace_url" if section.trace_url else "tracing"
        raise MissingTool(f"{asked} needs OpenTelemetry", "pip install 'beads-harness[otel]'") from None
    return tracing.Tracing(section.trace_url, section.trace_sampling, settings)


_POLICIES: Mapping[str, Policy] = {"cheapest": "cheapest", "fastest": "fastest", "none": "none"}


def built_in_routes() -> tuple[PreferenceRoute, ...]:
    """The routes that decision endpoints go by when none are configured."""
    rows: list[dict[str, Any]] = yaml.safe_load((files("harness.gateway") / "advice.yaml").read_text("utf-8"))
    return tuple(PreferenceRoute.model_validate(row) for row in rows)


def _feeds(section: GatewaySection) -> Feeds:
    wanted = section.session.budget is not None or any(route.prefer == "cheapest" for route in section.routes)
    names = {model for route in section.routes for model in route.models} if wanted else set()
    return Feeds(section.metrics_sources, sorted(names | ({row.model for row in section.models} if wanted else set())))


def _router_model(
    section: GatewaySection, cooldown: Cooldown
) -> tuple[RouterModel | None, list[Callable[[], Awaitable[None]]]]:
    """The router model, if one is configured, and what closes its connections."""
    wanted = section.router_model
    if wanted is None:
        return None, []
    key = wanted.api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    client = httpx2.AsyncClient(timeout=wanted.timeout_seconds)
    model = RouterModel(
        wanted.model,
        http_post(client, wanted.base_url, headers),
        form=wanted.prompt,
        timeout=wanted.timeout_seconds,
        context_tokens=wanted.context_tokens,
        resting=cooldown,
    )
    return model, [client.aclose]


def _affinity(section: GatewaySection, feeds: Feeds) -> Affinity:
    session = section.session
    store: PinStore = MemoryPins(session.ttl_seconds, session.max_entries)
    if session.url is not None:
        redis_pins = import_module("harness.routing.redis_pins")
        store = redis_pins.RedisPins(session.url.get_secret_value(), session.ttl_seconds)

    def rates(model: str) -> Rates | None:
        return feeds.metrics.rate(model)

    budget = None if session.budget is None else RoutingBudget.model_validate(session.budget)
    return Affinity(store, budget=budget, rates=rates)
