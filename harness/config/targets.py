"""Models as they are written in a configuration → where and how each is reached."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import SecretStr, field_validator

from harness.config.reading import parse
from harness.config.settings import ProviderSettings
from harness.errors import ConfigError, did_you_mean
from harness.types import Value

WireName = Literal["messages", "chat", "responses"]
FAMILIES = {
    "claude-": "anthropic", "gpt-": "openai", "chatgpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai",
    "gemini-": "gemini", "mistral-": "mistral", "deepseek-": "deepseek", "grok-": "xai", "kimi-": "moonshotai",
    "glm-": "zhipu", "qwen": "qwen", "sonar": "perplexity",
}  # fmt: skip
"""How the names of a provider's own models begin, for names without a provider."""
AZURE_VERSION = "2025-01-01-preview"
OWN_PATHS = {"zhipu": "/api/paas/v4", "qwen": "/compatible-mode/v1", "gemini": "/v1beta/openai", "perplexity": ""}
"""API paths of providers that do not use `/v1`, for a base URL that is only a host."""
_FORMATS: dict[str, tuple[WireName, ...]] = {
    "anthropic": ("messages",),
    "openai": ("chat",),
    "openai_responses": ("responses",),
}


class ModelRow(Value):
    """One model clients may ask for, or all of a provider's (`openai/*`)."""

    model: str
    """`provider/model`."""
    name: str | None = None
    """What clients and routes call it; default: `model` itself."""
    interface: str | None = None
    """For a provider of your own: the known provider whose API it imitates."""
    base_url: str | None = None
    """Including the API's version, as `https://host/v1`; without any path `/v1` is assumed."""
    api_key: SecretStr | None = None
    missing_key: str | None = None
    """Environment variable that should hold the key and is not set: requests are refused, decisions are not."""
    passthrough_auth: bool = False
    """Forward the client's credential instead of ours."""
    headers: dict[str, SecretStr] = {}
    default: bool = False
    internal: bool = False
    """Not listed and not routed to."""

    @field_validator("model")
    @classmethod
    def _has_provider(cls, model: str) -> str:
        provider, _, name = model.partition("/")
        if not provider.strip() or not name.strip():
            raise ValueError(f"'{model}' has no provider; write provider/model, or provider/* for all of its models")
        return model


class Target(Value):
    """One model as the gateway reaches it."""

    name: str
    provider: str
    model: str
    """What the provider calls it; `*` for all."""
    urls: dict[WireName, str]
    """Endpoint for each wire format the provider speaks, its own format first."""
    api_key: SecretStr | None = None
    missing_key: str | None = None
    passthrough_auth: bool = False
    headers: dict[str, SecretStr] = {}
    internal: bool = False

    @property
    def format(self) -> WireName:
        """The provider's own wire format."""
        return next(iter(self.urls))


def known_providers() -> dict[str, dict[str, Any]]:
    """The shipped table of providers: base URL, wire formats, environment variable of the key."""
    return parse((files("harness.config") / "providers.yaml").read_text("utf-8"), "providers.yaml", "yaml")


def target_of(
    row: ModelRow,
    known: Mapping[str, Mapping[str, Any]],
    own: Mapping[str, ProviderSettings],
    variables: Mapping[str, str],
    where: str,
    number: int,
) -> Target:
    """A row as a target. A key from the environment goes to the provider's own address only. Raises ConfigError."""
    provider, _, model = row.model.partition("/")
    mine, table = own.get(provider), known.get(row.interface or provider)
    if table is None and mine is None:
        raise ConfigError(
            where,
            ("gateway", "models", number),
            f"unknown provider '{provider}'{did_you_mean(provider, known)}",
            "give it `base_url` and `interface` (openai, anthropic, …), or an entry in `providers:`",
        )
    speaks: tuple[WireName, ...] = tuple(table["speaks"]) if table else ()
    if mine is not None:
        speaks = tuple(dict.fromkeys((*_FORMATS[mine.format], *speaks)))
    base = (
        row.base_url
        or (mine.base_url if mine else None)
        or (table["base_url"] if table and not row.interface else None)
    )
    if base is None:
        raise ConfigError(
            where,
            ("gateway", "models", number, "base_url"),
            "is missing",
            f"say where '{provider}' is, e.g. http://localhost:8000/v1",
        )
    key_name = (mine.api_key_env if mine else None) or (table or {}).get("key")
    found = variables.get(key_name) if key_name and row.base_url is None else None
    key = row.api_key or (mine.api_key if mine else None) or (SecretStr(found) if found else None)
    return Target(
        name=row.name or row.model,
        provider=provider,
        model=model,
        internal=row.internal,
        urls={form: endpoint(base, form, row.interface or provider, model, where, number) for form in speaks},
        headers=row.headers,
        api_key=None if row.passthrough_auth else key,
        passthrough_auth=row.passthrough_auth,
        missing_key=row.missing_key,
    )


def endpoint(
    base: str, form: WireName, provider: str = "", model: str = "", where: str = "base_url", number: int = 0
) -> str:
    """The URL of one wire format below a base URL; a base without a path gets the provider's own, else `/v1`."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            where, ("gateway", "models", number, "base_url"), f"'{base}' is no URL", "start it with http:// or https://"
        )
    host, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if provider == "azure_openai":
        return f"{host}{path}/openai/deployments/{quote(model, safe='')}/chat/completions?api-version={AZURE_VERSION}"
    leaf = {"messages": "messages", "chat": "chat/completions", "responses": "responses"}[form]
    return f"{host}{path or OWN_PATHS.get(provider, '/v1')}/{leaf}"


def resolve(targets: Mapping[str, Target], model: str) -> Target | None:
    """The target of a name: exact, a bare model id that one entry has, or a provider's wildcard. None: unknown."""
    exact = targets.get(model)
    if exact is not None and exact.model != "*":
        return exact
    provider, slash, rest = model.partition("/")
    if slash and rest and rest != "*":
        wild = targets.get(f"{provider}/*")
        if wild is not None:
            return wild.model_copy(update={"name": model, "model": rest})
    same = [target for target in targets.values() if target.model == model and not target.internal]
    if same or slash:
        return same[0] if len(same) == 1 else None
    family = next((owner for start, owner in FAMILIES.items() if model.startswith(start)), None)
    wild = targets.get(f"{family}/*")
    if wild is not None:
        return wild.model_copy(update={"name": f"{family}/{model}", "model": model})
    return None
