"""The parts of Plano's configuration file that this gateway understands, as Plano's own schema has them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.types import Value


class Interface(Value):
    name: str
    description: str


class Provider(Value):
    model: str
    name: str | None = None
    access_key: str | None = None
    default: bool = False
    base_url: str | None = None
    passthrough_auth: bool = False
    http_host: str | None = None
    provider_interface: Literal[
        "plano", "deepseek", "groq", "mistral", "openai", "xiaomi", "gemini", "chatgpt", "digitalocean", "vercel",
        "openrouter", "edenai", "moonshotai",
    ] | None = None  # fmt: skip
    headers: dict[str, str] = {}
    routing_preferences: tuple[Interface, ...] = ()


class Listener(Value):
    type: Literal["model", "prompt", "agent"]
    name: str
    port: int | None = None
    address: str | None = None
    timeout: str | None = None
    router: str | None = None
    max_retries: int | None = None
    agents: tuple[dict[str, Any], ...] = ()
    input_filters: tuple[str, ...] = ()
    output_filters: tuple[str, ...] = ()


class Traffic(Value):
    address: str | None = None
    port: int | None = None
    message_format: Literal["openai"] | None = None
    timeout: str | None = None


class LegacyListeners(Value):
    ingress_traffic: Traffic | None = None
    egress_traffic: Traffic | None = None


class Alias(Value):
    target: str


class Policy(Value):
    prefer: Literal["cheapest", "fastest", "none"]


class Preference(Value):
    name: str
    description: str
    models: tuple[str, ...] = Field(min_length=1)
    selection_policy: Policy | None = None


class SessionCache(Value):
    type: Literal["memory", "redis"] = "memory"
    url: str | None = None
    tenant_header: str | None = None


class Routing(Value):
    session_ttl_seconds: int | None = Field(None, ge=1)
    session_max_entries: int | None = Field(None, ge=1, le=10_000)
    session_cache: SessionCache | None = None
    routing_budget: dict[str, Any] | None = None
    route_on_user_only: bool = False
    llm_provider: str | None = None
    model: str | None = None


class Overrides(Value):
    llm_routing_model: str | None = None
    orchestrator_model_context_length: int | None = None
    upstream_connect_timeout: str | None = None
    disable_signals: bool | None = None
    agent_orchestration_model: str | None = None
    prompt_target_intent_matching_threshold: float | None = None
    optimize_context_window: bool | None = None
    use_agent_orchestrator: bool | None = None
    upstream_tls_ca_path: str | None = None


class Caching(Value):
    enabled: bool = False
    session_affinity: bool = True
    inject_cache_control: bool = True
    min_prefix_tokens: int = Field(1024, ge=1)
    session_ttl_seconds: int | None = Field(None, ge=1)


class Selector(Value):
    key: str
    value: str | None = None


class Limit(Value):
    tokens: int
    unit: str


class RateLimit(Value):
    model: str
    selector: Selector
    limit: Limit


class Tracing(Value):
    random_sampling: int | None = None
    trace_arch_internal: bool | None = None
    opentracing_grpc_endpoint: str | None = None
    span_attributes: dict[str, Any] | None = None
    exporters: tuple[dict[str, Any], ...] = ()


class Storage(Value):
    type: Literal["memory", "postgres"]
    connection_string: str | None = None


class PlanoFile(Value):
    """The parts of Plano's file that this gateway understands."""

    version: Literal["v0.1", "v0.1.0", "0.1-beta", "0.2.0", "v0.3.0", "v0.4.0"] | None = None
    """Plano wants it. Its own guides show configurations without it, and those are meant to work here too."""
    listeners: tuple[Listener, ...] | LegacyListeners | None = None
    model_providers: tuple[Provider, ...] | None = None
    llm_providers: tuple[Provider, ...] | None = None
    model_aliases: dict[str, Alias] = {}
    routing_preferences: tuple[Preference, ...] = ()
    routing: Routing = Routing()
    overrides: Overrides = Overrides()
    prompt_caching: Caching = Caching()
    ratelimits: tuple[RateLimit, ...] = ()
    tracing: Tracing = Tracing()
    mode: Literal["llm", "prompt"] | None = None
    model_metrics_sources: tuple[dict[str, Any], ...] = ()
    state_storage: Storage | None = None
