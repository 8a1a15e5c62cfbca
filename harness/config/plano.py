"""Plano's own configuration file, v0.1 to v0.4.0, unchanged → our `gateway:` section.

The rules are those of Plano's schema and of `planoai` 0.4.39's config generator, restated. What this gateway does not
do is refused by its name; what it does another way is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from harness.config.plano_file import LegacyListeners, PlanoFile, Preference, Provider, RateLimit, SessionCache, Traffic
from harness.config.reading import validate
from harness.errors import ConfigError

NEEDS_BASE_URL = ("azure_openai", "ollama", "qwen", "amazon_bedrock", "plano")
SUPPORTED = (
    "deepseek", "groq", "mistral", "openai", "xiaomi", "gemini", "anthropic", "together_ai", "xai", "moonshotai",
    "zhipu", "chatgpt", "digitalocean", "vercel", "openrouter", "edenai", *NEEDS_BASE_URL,
)  # fmt: skip
MODEL_PORT = 12000
ROUTER_MODEL = "Plano-Orchestrator"
_UNSUPPORTED = {
    "agents": "agents are not run here", "filters": "filter services are not called here; see gateway > filters",
    "prompt_targets": "prompts are not turned into API calls here", "endpoints": "they serve prompt targets only",
    "prompt_guards": "there is no jailbreak guard here", "system_prompt": "prompts are passed on untouched",
}  # fmt: skip
"""Top-level keys → why they are refused."""


AS_WRITTEN = {
    ("models",): ("model_providers",), ("aliases",): ("model_aliases",), ("routes",): ("routing_preferences",),
    ("rate_limits",): ("ratelimits",), ("metrics_sources",): ("model_metrics_sources",),
    ("session", "budget"): ("routing", "routing_budget"), ("session", "url"): ("routing", "session_cache", "url"),
    ("session",): ("routing",), ("router_model",): ("overrides", "llm_routing_model"),
}  # fmt: skip
"""Keys of our `gateway:` section → where Plano's file has them, for errors that are found in the section."""


def is_plano(data: Mapping[str, Any]) -> bool:
    """Whether a mapping has the marks of Plano's file."""
    return any(key in data for key in ("model_providers", "llm_providers", "listeners"))


def plano_section(data: Mapping[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Plano's file → (`gateway:` section, warnings). Variables stay as they are written. Raises ConfigError."""
    for key, why in _UNSUPPORTED.items():
        if data.get(key):
            raise ConfigError(where, (key,), f"is not supported: {why}", "remove it, or keep it in Plano")
    file: PlanoFile = validate(PlanoFile, {key: item for key, item in data.items() if key not in _UNSUPPORTED}, where)
    reading = _Reading(file, where)
    return reading.section(), tuple(reading.warnings)


class _Reading:
    def __init__(self, file: PlanoFile, where: str) -> None:
        self.file, self.where = file, where
        self.warnings: list[str] = []
        self.key = "llm_providers" if file.llm_providers is not None else "model_providers"

    def fail(self, path: tuple[str | int, ...], problem: str, hint: str | None = None) -> ConfigError:
        return ConfigError(self.where, path, problem, hint)

    def section(self) -> dict[str, Any]:
        self._unsupported()
        if self.file.version is None:
            self.warnings.append("version: none is given; Plano itself wants one, e.g. v0.4.0")
        section: dict[str, Any] = {**self._listener(), "models": list(self._models())}
        optional = {
            "aliases": {name: alias.target for name, alias in self.file.model_aliases.items()},
            "routes": self._routes(), "session": self._session(), "router_model": self._router_model(),
            "metrics_sources": self._metrics(), "rate_limits": [self._rate(limit) for limit in self.file.ratelimits],
            "limits": self._limits(),
        }  # fmt: skip
        section |= {name: value for name, value in optional.items() if value}
        if self.file.tracing.random_sampling:
            self.warnings.append("tracing: spans go where gateway > trace_url or OTEL_EXPORTER_OTLP_ENDPOINT says")
        if self.file.tracing.random_sampling is not None:
            section["trace_sampling"] = self.file.tracing.random_sampling / 100
        return section

    def _unsupported(self) -> None:
        overrides, tracing = self.file.overrides, self.file.tracing
        given: dict[tuple[str | int, ...], Any] = {
            ("mode",): self.file.mode == "prompt",
            ("routing", "llm_provider"): self.file.routing.llm_provider,
            ("routing", "model"): self.file.routing.model,
            ("overrides", "agent_orchestration_model"): overrides.agent_orchestration_model,
            ("overrides", "use_agent_orchestrator"): overrides.use_agent_orchestrator,
            ("overrides", "optimize_context_window"): overrides.optimize_context_window,
            ("overrides", "upstream_tls_ca_path"): overrides.upstream_tls_ca_path,
            ("tracing", "span_attributes"): tracing.span_attributes,
            ("tracing", "exporters"): tracing.exporters,
            ("tracing", "opentracing_grpc_endpoint"): tracing.opentracing_grpc_endpoint,
        }  # fmt: skip
        for path, value in given.items():
            if value:
                hint = "set gateway > trace_url to an OTLP/HTTP address" if path[0] == "tracing" else "remove it"
                raise self.fail(path, "is not supported", hint)
        if overrides.prompt_target_intent_matching_threshold is not None:
            self.warnings.append(
                "overrides > prompt_target_intent_matching_threshold: there are no prompt targets here"
            )
        if self.file.prompt_caching.enabled and self.file.prompt_caching.inject_cache_control:
            self.warnings.append("prompt_caching: cache breakpoints are left to clients; bodies pass untouched")
        storage = self.file.state_storage
        if storage is not None and storage.type == "postgres":
            raise self.fail(
                ("state_storage", "type"), "postgres is not supported", "remove it; providers keep responses"
            )
        if storage is not None:
            self.warnings.append(
                "state_storage: previous_response_id works with providers that keep responses themselves"
            )

    def _listener(self) -> dict[str, Any]:
        found = self.file.listeners
        if found is None:
            self.warnings.append(f"listeners: none given, so port {MODEL_PORT} of 127.0.0.1; Plano itself wants one")
            return {"port": MODEL_PORT}
        if isinstance(found, LegacyListeners):
            egress = found.egress_traffic or Traffic()
            address, port = egress.address, egress.port
        else:
            models = [listener for listener in found if listener.type == "model"]
            if len(models) > 1:
                raise self.fail(("listeners",), f"only one model listener is allowed, found {len(models)}")
            for number, listener in enumerate(found):
                for key in ("agents", "input_filters", "output_filters"):
                    if getattr(listener, key):
                        raise self.fail(
                            ("listeners", number, key), "is not supported", "remove it, or keep it in Plano"
                        )
            if not models:
                raise self.fail(
                    ("listeners",), "has no listener of type model", "add {type: model, name: llm, port: 12000}"
                )
            address, port = models[0].address, models[0].port
        section: dict[str, Any] = {"port": port or MODEL_PORT}
        if address in ("0.0.0.0", "::"):
            self.warnings.append(f"listeners: {address} is open to other machines; listening on 127.0.0.1 instead. "
                                 "To open it, set gateway > tokens and gateway > host in harness.yaml")  # fmt: skip
        elif address:
            section["host"] = address
        return section

    def _models(self) -> Iterator[dict[str, Any]]:
        if self.file.llm_providers is not None and self.file.model_providers is not None:
            raise self.fail(
                ("llm_providers",), "stands beside model_providers", "llm_providers is the old name; keep one"
            )
        rows = self.file.model_providers or self.file.llm_providers or ()
        if not rows:
            raise self.fail((self.key,), "there must be at least one model", "add - model: openai/gpt-4o")
        names: set[str] = set()
        for number, row in enumerate(rows):
            path: tuple[str | int, ...] = (self.key, number)
            provider, slash, model = row.model.partition("/")
            if not slash or not model:
                raise self.fail(
                    (*path, "model"), f"'{row.model}' has no provider", "write provider/model, or provider/*"
                )
            wildcard = row.model.split("/")[-1].strip() == "*"
            for name in () if wildcard else (row.model, model):
                if name in names:
                    raise self.fail(
                        (*path, "model"), f"'{name}' stands twice; two models may not share a name or a model id"
                    )
                names.add(name)
            yield self._row(row, provider.strip(), wildcard, path)

    def _row(self, row: Provider, provider: str, wildcard: bool, path: tuple[str | int, ...]) -> dict[str, Any]:
        if wildcard and row.default:
            raise self.fail((*path, "default"), f"{row.model} stands for many models and cannot be the default")
        if row.http_host:
            raise self.fail((*path, "http_host"), "is not supported", "put the host into base_url")
        if provider in NEEDS_BASE_URL and row.base_url is None:
            raise self.fail((*path, "base_url"), f"provider '{provider}' needs it")
        if provider == "amazon_bedrock":
            raise self.fail((*path, "model"), "amazon_bedrock is not supported: its requests are signed another way")
        if provider in SUPPORTED and row.provider_interface is not None:
            raise self.fail(
                (*path, "provider_interface"), f"'{provider}' is known; give it for providers of your own only"
            )
        if provider not in SUPPORTED and (row.base_url is None or row.provider_interface is None):
            raise self.fail(path, f"'{provider}' is no known provider; it needs base_url and provider_interface",
                            f"known: {', '.join(SUPPORTED)}")  # fmt: skip
        if row.passthrough_auth and row.access_key:
            self.warnings.append(f"{row.model}: access_key is ignored, passthrough_auth forwards the client's own")
        passthrough = row.passthrough_auth or (provider == "chatgpt" and not row.access_key)
        optional = {
            "name": row.name, "base_url": kimi_base_url(row.base_url) if row.base_url else None,
            "interface": row.provider_interface, "api_key": None if passthrough else row.access_key,
            "passthrough_auth": passthrough, "headers": row.headers, "default": row.default,
            "internal": provider == "plano",
        }  # fmt: skip
        return {"model": row.model, **{key: value for key, value in optional.items() if value}}

    def _routes(self) -> list[dict[str, Any]]:
        routes = [_route(preference) for preference in self.file.routing_preferences]
        names = [route["name"] for route in routes]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise self.fail(("routing_preferences", number, "name"), f"two preferences are named '{name}'")
        rows = [row for row in self.file.model_providers or self.file.llm_providers or () if row.routing_preferences]
        if not rows:
            return routes
        if self.file.version == "v0.4.0":
            self.warnings.append(
                "routing_preferences below a model are not read since v0.4.0; move them to the top level"
            )
            return routes
        self.warnings.append("routing_preferences below a model are the old form; they were moved to the top level")
        moved: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row.model.endswith("/*"):
                raise self.fail((self.key,), f"{row.model} is a wildcard and cannot have routing_preferences")
            for preference in row.routing_preferences:
                entry = moved.setdefault(preference.name, {**preference.model_dump(), "models": []})
                if entry["description"] != preference.description:
                    self.warnings.append(f"'{preference.name}' is described twice; the first description counts")
                entry["models"] += [row.model] if row.model not in entry["models"] else []
        return routes + [route for name, route in moved.items() if name not in names]

    def _session(self) -> dict[str, Any]:
        routing, caching = self.file.routing, self.file.prompt_caching
        cache = routing.session_cache or SessionCache()
        if cache.type == "redis" and not cache.url:
            raise self.fail(
                ("routing", "session_cache", "url"), "is missing", "a redis cache needs e.g. redis://localhost:6379"
            )
        ttl = (caching.session_ttl_seconds if caching.enabled else None) or routing.session_ttl_seconds
        optional = {
            "ttl_seconds": ttl, "max_entries": routing.session_max_entries,
            "url": cache.url if cache.type == "redis" else None, "tenant_header": cache.tenant_header,
            "user_turns_only": routing.route_on_user_only, "budget": routing.routing_budget,
        }  # fmt: skip
        return {key: value for key, value in optional.items() if value}

    def _router_model(self) -> dict[str, Any] | None:
        """A self-hosted router model; the vendor's hosted one is not used, the embedded router is."""
        wanted = self.file.overrides.llm_routing_model or ROUTER_MODEL
        short = wanted.partition("/")[2] or wanted
        rows = self.file.model_providers or self.file.llm_providers or ()
        row = next((row for row in rows if row.model == wanted or row.model.partition("/")[2] == short), None)
        if row is None or row.base_url is None:
            if self.file.overrides.llm_routing_model:
                self.warnings.append(
                    f"overrides > llm_routing_model: no base_url says where {wanted} is; the embedded router decides"
                )
            return None
        base = row.base_url.rstrip("/")
        form = "arch_router" if "arch-router" in short.lower() else "orchestrator"
        found: dict[str, Any] = {
            "model": short,
            "base_url": base if urlsplit(base).path else f"{base}/v1",
            "prompt": form,
        }
        if row.access_key:
            found["api_key"] = row.access_key
        if self.file.overrides.orchestrator_model_context_length:
            found["context_tokens"] = self.file.overrides.orchestrator_model_context_length
        return found

    def _metrics(self) -> list[dict[str, Any]]:
        kinds = [source.get("type") for source in self.file.model_metrics_sources]
        for kind in ("cost", "latency"):
            if kinds.count(kind) > 1:
                raise self.fail(("model_metrics_sources",), f"only one {kind} metrics source is allowed")
        if self.file.routing.routing_budget is not None and "cost" not in kinds:
            raise self.fail(("routing", "routing_budget"), "is set and no cost source is",
                            "add one to model_metrics_sources, e.g. {type: cost, provider: models.dev}")  # fmt: skip
        return [dict(source) for source in self.file.model_metrics_sources]

    def _rate(self, row: RateLimit) -> dict[str, Any]:
        return {"model": row.model, "tokens": row.limit.tokens, "per": row.limit.unit, "header": row.selector.key,
                **({"value": row.selector.value} if row.selector.value is not None else {})}  # fmt: skip

    def _limits(self) -> dict[str, Any]:
        given = self.file.overrides.upstream_connect_timeout
        return (
            {}
            if given is None
            else {"connect_seconds": seconds(given, self.where, ("overrides", "upstream_connect_timeout"))}
        )


def _route(preference: Preference) -> dict[str, Any]:
    route = {"name": preference.name, "description": preference.description, "models": list(preference.models)}
    policy = preference.selection_policy
    return route | ({"prefer": policy.prefer} if policy else {})


def seconds(text: str, where: str, path: tuple[str | int, ...]) -> float:
    """`5s`, `500ms`, `2m` → seconds; raises ConfigError."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit) and text.removesuffix(unit).replace(".", "", 1).isdigit():
            return float(text.removesuffix(unit)) * factor
    raise ConfigError(where, path, f"'{text}' is no duration", "write e.g. 5s or 500ms")


def kimi_base_url(base: str) -> str:
    """Kimi's coding API needs its version in the path; other addresses stay as they are."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/")
    if parts.hostname != "api.kimi.com" or not path.endswith("/coding"):
        return base
    return f"{parts.scheme}://{parts.netloc}{path}/v1"
