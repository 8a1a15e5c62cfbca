"""The `gateway:` section of harness.yaml: its keys, their bounds, and the checked settings made from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from harness.config.settings import RoutePreference
from harness.config.targets import ModelRow, Target
from harness.errors import did_you_mean
from harness.types import Value

SCENARIOS = ("image", "web_search", "long_context", "plan_implementation", "think", "background", "default")


class Route(RoutePreference):
    """A preference with the order in which its models are tried."""

    prefer: Literal["cheapest", "fastest", "none"] = "none"


class SessionSettings(Value):
    ttl_seconds: int = Field(600, ge=1)
    max_entries: int = Field(10_000, ge=1, le=10_000)
    url: SecretStr | None = None
    """`redis://` or `rediss://`; None keeps sessions in memory."""
    tenant_header: str | None = None
    implicit: bool = True
    """Take Claude Code's, codex's and opencode's own session headers as ids for what preferences decide."""
    user_turns_only: bool = False
    """Route only when the last message is the user's; tool results keep the session's model."""
    budget: dict[str, Any] | None = None
    """`routing_budget`: when a warm session may change its model."""

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("expected redis://host:port or rediss://host:port")
        return url


class ScenarioSettings(Value):
    """Chains of models by kind of request; each tried in order."""

    chains: dict[str, tuple[str, ...]] = {}
    long_context_threshold: int = Field(60_000, ge=1)
    override_requested_model: bool = False

    @field_validator("chains")
    @classmethod
    def _known(cls, chains: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, models in chains.items():
            if name not in SCENARIOS:
                raise ValueError(f"no scenario '{name}'; known: {', '.join(SCENARIOS)}{did_you_mean(name, SCENARIOS)}")
            if not models:
                raise ValueError(f"scenario '{name}' has no model")
        return chains


class RouterModelSettings(Value):
    """An OpenAI-compatible router model that chooses among described routes."""

    model: str
    base_url: str
    ask: Literal["first", "unsure"] = "first"
    """`first`: it decides, and the embedded classifier where it is down; `unsure`: what that abstains from."""
    api_key: SecretStr | None = None
    timeout_seconds: float = Field(5, gt=0)
    prompt: Literal["orchestrator", "arch_router"] = "orchestrator"
    context_tokens: int = Field(8192, ge=256)


class MetricsSource(Value):
    """Where prices or latencies come from."""

    type: Literal["cost", "latency"]
    provider: Literal["digitalocean", "models.dev", "prometheus", "embedded"]
    url: str | None = None
    query: str | None = None
    refresh_interval: int | None = Field(None, ge=1)
    model_aliases: dict[str, str] = {}

    @model_validator(mode="after")
    def _latency_has_a_query(self) -> MetricsSource:
        if self.provider == "prometheus" and not (self.url and self.query):
            raise ValueError("a prometheus source needs `url` and `query`")
        if (self.type == "latency") != (self.provider == "prometheus"):
            raise ValueError(f"provider '{self.provider}' has no {self.type} data")
        return self


class RateLimit(Value):
    """Tokens a model may use per unit of time, for each value of a request header (or one value of it)."""

    model: str
    tokens: int = Field(ge=1)
    per: Literal["second", "minute", "hour", "day"]
    header: str | None = None
    value: str | None = None


class FilterSettings(Value):
    """Patterns looked for in prompts and replies."""

    name: str
    pattern: str | None = None
    """A regular expression; None takes the built-in of that name: `secrets`, `email`, `phone`, `credit_card`, `ssn`."""
    direction: Literal["request", "response", "both"] = "request"
    action: Literal["block", "redact"] = "block"


class GatewayLimits(Value):
    body_mb: float = Field(32, gt=0)
    header_kb: int = Field(64, ge=1)
    concurrent: int = Field(512, ge=1)
    """Requests under way; more are answered 429 with `Retry-After`."""
    connect_seconds: float = Field(10, gt=0)
    idle_seconds: float = Field(600, gt=0)
    """Silence of a provider, before its answer or in the middle of it."""
    cooldown_seconds: float = Field(30, ge=0)
    """How long a failing model is passed over."""


class GatewaySection(Value):
    """`gateway:` as written in harness.yaml."""

    host: str = "127.0.0.1"
    port: int = Field(3456, ge=0, le=65535)
    tokens: tuple[SecretStr, ...] = ()
    """Bearer tokens of clients; empty: everybody who reaches the port."""
    models: tuple[ModelRow, ...] = ()
    """Empty: every model of every known provider."""
    aliases: dict[str, str] = {}
    scenarios: ScenarioSettings = ScenarioSettings()
    routes: tuple[Route, ...] = ()
    route_threshold: float = Field(0.45, ge=0, le=1)
    router_model: RouterModelSettings | None = None
    session: SessionSettings = SessionSettings()
    metrics_sources: tuple[MetricsSource, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    filters: tuple[FilterSettings, ...] = ()
    limits: GatewayLimits = GatewayLimits()
    trace_sampling: float = Field(1.0, ge=0, le=1)
    trace_url: str | None = None
    """OTLP/HTTP endpoint; None sends no traces."""

    @field_validator("models", mode="before")
    @classmethod
    def _rows(cls, models: Any) -> Any:
        if not isinstance(models, list | tuple):
            return models
        return [{"model": row} if isinstance(row, str) else row for row in models]

    @model_validator(mode="after")
    def _one_source_of_a_kind(self) -> GatewaySection:
        kinds = [source.type for source in self.metrics_sources]
        for kind in ("cost", "latency"):
            if kinds.count(kind) > 1:
                raise ValueError(f"metrics_sources: only one {kind} source is allowed")
        if self.session.budget is not None and "cost" not in kinds:
            raise ValueError(
                "session > budget needs a cost source in metrics_sources, e.g. {type: cost, provider: embedded}"
            )
        return self


class GatewaySettings(Value):
    """Everything the gateway runs on; names are checked and references resolve."""

    section: GatewaySection
    targets: dict[str, Target]
    default: str | None = None
    open_models: bool = False
    """No model was listed: any model of a known provider may be asked for."""
    source: str = "defaults"
    warnings: tuple[str, ...] = ()
