"""The `gateway:` section of harness.yaml, a Plano file or a `[router]` TOML → one GatewaySettings.

The section is plain data; the readers of other tools' files (`config/plano.py`, `[router]` below) only rewrite it, so
what `harness config import` prints is what `harness serve` runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from harness.config.plano import is_plano, plano_section
from harness.config.reading import environment, expand, read_mapping, validate
from harness.config.settings import ProviderSettings, RoutePreference, Settings
from harness.config.targets import ModelRow, Target, known_providers, resolve, target_of
from harness.errors import ConfigError, did_you_mean
from harness.types import Value

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
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
    """An OpenAI-compatible router model asked for what the embedded router abstains from."""

    model: str
    base_url: str
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


def gateway_settings(
    settings: Settings, file: Path | None = None, variables: Mapping[str, str] | None = None
) -> GatewaySettings:
    """Settings of the gateway: from `file` (harness, Plano or `[router]` form), else from `settings.gateway`.

    Raises ConfigError naming file, key path and cure.
    """
    variables = environment() if variables is None else variables
    if file is None:
        return build(settings.gateway, settings, settings.source, variables)
    section, providers, warnings = section_of(read_mapping(file), str(file))
    if providers is not None:
        data = expand(providers, variables, str(file), ("providers",))
        own: dict[str, ProviderSettings] = validate(dict[str, ProviderSettings], data, str(file), ("providers",))
        settings = settings.model_copy(update={"providers": own})
    section, unset = _without_unset_keys(section, variables)
    return build(expand(section, variables, str(file)), settings, str(file), variables, (*warnings, *unset))


def _without_unset_keys(
    section: dict[str, Any], variables: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A key whose variable is not set only stops requests to its model; decisions need no keys."""
    rows: list[Any] = []
    warnings: list[str] = []
    for row in section.get("models") or ():
        key = row.get("api_key") if isinstance(row, dict) else None
        match = _VARIABLE.fullmatch(key) if isinstance(key, str) else None
        if match is not None and match[1] not in variables:
            row = {**{name: value for name, value in row.items() if name != "api_key"}, "missing_key": match[1]}
            warnings.append(f"{match[1]} is not set: requests to {row['model']} will be refused; decisions work")
        rows.append(row)
    return {**section, **({"models": rows} if rows else {})}, tuple(warnings)


def is_foreign(data: Mapping[str, Any]) -> bool:
    """Whether a file is a gateway's alone (Plano's, or `[router]`) and no harness.yaml."""
    return is_plano(data) or "router" in data or "Router" in data


def section_of(data: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any] | None, tuple[str, ...]]:
    """A configuration of any accepted form → (our `gateway:` section, `providers:`, warnings)."""
    if is_plano(data):
        section, warnings = plano_section(data, where)
        return section, None, warnings
    if "router" in data or "Router" in data:
        return router_section(data, where), None, ()
    if "gateway" in data or "tiers" in data or data.get("version") == 1 or not data:
        return dict(data.get("gateway") or {}), data.get("providers"), ()
    known = ("gateway", "router", "model_providers", "listeners")
    raise ConfigError(
        where,
        (),
        f"is no gateway configuration: none of {', '.join(known)} is in it",
        "give harness.yaml, a Plano configuration or a TOML file with [router]",
    )


def router_section(data: dict[str, Any], where: str) -> dict[str, Any]:
    """`[router]` with `think = "openrouter,anthropic/claude-3-opus"`; `a,m1 | b,m2` is a chain."""
    key = "router" if "router" in data else "Router"
    router, extra = data[key], sorted(set(data) - {key, "providers", "server"})
    if extra:
        raise ConfigError(where, (extra[0],), "is not supported beside [router]", "remove it, or write harness.yaml")
    if not isinstance(router, dict):
        raise ConfigError(where, (key,), "expected a table of scenarios")
    scenarios: dict[str, Any] = {"chains": {}}
    for name, value in router.items():
        if name in ("long_context_threshold", "override_requested_model"):
            scenarios[name] = value
        elif name not in SCENARIOS:
            known = (*SCENARIOS, "long_context_threshold", "override_requested_model")
            raise ConfigError(
                where, (key, name), f"unknown scenario; known: {', '.join(known)}{did_you_mean(name, known)}"
            )
        else:
            parts = value.split("|") if isinstance(value, str) else value
            if not isinstance(parts, list):
                raise ConfigError(where, (key, name), 'expected "provider,model" or a list of them')
            scenarios["chains"][name] = [_pair(part, where, (key, name)) for part in parts]
    section: dict[str, Any] = {"scenarios": scenarios}
    server = data.get("server") or {}
    section |= {name: server[name] for name in ("host", "port") if name in server}
    rows: Any = data.get("providers")
    if rows is not None:
        section["models"] = [_provider_row(row, where, number) for number, row in enumerate(_table_rows(rows, where))]
    return section


def _pair(text: Any, where: str, path: tuple[str, ...]) -> str:
    if isinstance(text, str):
        provider, comma, model = text.strip().partition(",")
        if comma and provider.strip() and model.strip():
            return f"{provider.strip()}/{model.strip()}"
        if not comma and "/" in provider:
            return provider
    raise ConfigError(
        where,
        path,
        f'expected "provider,model", got {str(text)!r:.60}',
        'write e.g. "openrouter,anthropic/claude-3-opus"',
    )


def _table_rows(rows: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(rows, dict):
        return [{"name": name, **(row if isinstance(row, dict) else {})} for name, row in rows.items()]
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    raise ConfigError(where, ("providers",), "expected tables of name, base_url, api_key")


def _provider_row(row: dict[str, Any], where: str, number: int) -> dict[str, Any]:
    known = {"name", "base_url", "api_base_url", "api_key"}
    extra = sorted(set(row) - known)
    if extra or not row.get("name"):
        problem = f"unknown key '{extra[0]}'; known: {', '.join(sorted(known))}" if extra else "name is missing"
        raise ConfigError(where, ("providers", number), problem)
    base = row.get("base_url") or row.get("api_base_url")
    own = {} if row["name"] in known_providers() else {"interface": "openai"}
    return {
        "model": f"{row['name']}/*",
        **({"base_url": base} if base else {}),
        **own,
        **({"api_key": row["api_key"]} if row.get("api_key") else {}),
    }


def build(
    data: dict[str, Any],
    settings: Settings,
    where: str,
    variables: Mapping[str, str],
    warnings: tuple[str, ...] = (),
) -> GatewaySettings:
    """A section, its variables already expanded → checked settings. Raises ConfigError."""
    section: GatewaySection = validate(GatewaySection, data, where, ("gateway",))
    known = known_providers()
    everyone = {name for name, row in known.items() if row["base_url"]} | set(settings.providers)
    rows = section.models or tuple(ModelRow(model=f"{name}/*") for name in sorted(everyone))
    targets: dict[str, Target] = {}
    for number, row in enumerate(rows):
        target = target_of(row, known, settings.providers, variables, where, number)
        if target.name in targets:
            raise ConfigError(where, ("gateway", "models", number), f"'{target.name}' stands twice")
        targets[target.name] = target
    defaults = [row.name or row.model for row in rows if row.default]
    if len(defaults) > 1:
        raise ConfigError(
            where,
            ("gateway", "models"),
            f"two defaults: {defaults[0]} and {defaults[1]}",
            "keep `default: true` on one of them",
        )
    built = GatewaySettings(
        section=section,
        targets=targets,
        default=defaults[0] if defaults else None,
        open_models=not section.models,
        source=where,
        warnings=warnings,
    )
    _check_references(built, settings, where)
    return built


def _check_references(built: GatewaySettings, settings: Settings, where: str) -> None:
    for alias in built.section.aliases:
        seen = [alias]
        while (after := built.section.aliases.get(seen[-1])) is not None:
            if after in seen:
                raise ConfigError(
                    where, ("gateway", "aliases", alias), f"goes in a circle: {' → '.join([*seen, after])}"
                )
            seen.append(after)
        _check_model(built, seen[-1], where, ("gateway", "aliases", alias))
    for name, chain in built.section.scenarios.chains.items():
        for model in chain:
            _check_model(built, model, where, ("gateway", "scenarios", "chains", name))
    names: set[str] = set()
    for number, route in enumerate(built.section.routes):
        path: tuple[str | int, ...] = ("gateway", "routes", number)
        if route.name in names:
            raise ConfigError(where, path, f"two routes are named '{route.name}'")
        names.add(route.name)
        if not route.models and route.tier not in settings.tiers:
            raise ConfigError(where, path, f"route '{route.name}' has no models", "add `models: [provider/model, …]`")
        for model in route.models:
            _check_model(built, model, where, (*path, "models"))


def _check_model(built: GatewaySettings, model: str, where: str, path: tuple[str | int, ...]) -> None:
    if resolve(built.targets, model) is None:
        names = [name for name in built.targets if not name.endswith("/*")] or list(built.targets)
        raise ConfigError(where, path, f"no model '{model}'; known: {', '.join(names)}{did_you_mean(model, names)}")
