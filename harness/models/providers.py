"""Where a provider is and how it is spoken to: settings over the shipped table, keys from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from harness.config.settings import ProviderSettings
from harness.config.targets import known_providers
from harness.errors import ModelAuthError, UnknownName
from harness.types import Block, ModelRequest, Usage, Value

Format = Literal["anthropic", "openai", "openai_responses"]

BASE_URL_VARIABLES = {"anthropic": "ANTHROPIC_BASE_URL", "openai": "OPENAI_BASE_URL"}
OTHER_KEY_VARIABLES = {"anthropic": "ANTHROPIC_AUTH_TOKEN"}
ADAPTERS: dict[Format, str] = {
    "anthropic": "harness.models.anthropic",
    "openai": "harness.models.openai",
    "openai_responses": "harness.models.openai_responses",
}
"""Wire format → the module whose `connect(provider, settings)` makes the adapter; imported when first needed."""


@dataclass(frozen=True)
class Provider:
    """One endpoint, ready to be connected to."""

    name: str
    format: Format
    base_url: str
    api_key: SecretStr | None = None
    key_name: str | None = None
    """The environment variable a user would export."""
    timeout: float = 600.0
    cache_ttl: Literal["5m", "1h"] = "5m"

    @property
    def official(self) -> bool:
        """Whether it is the format's own author: it takes every parameter that its documentation names."""
        return self.base_url.startswith(("https://api.anthropic.com", "https://api.openai.com"))

    @property
    def key(self) -> str:
        """The key; servers on this machine or a private network get a placeholder. Raises ModelAuthError."""
        if self.api_key is not None and self.api_key.get_secret_value():
            return self.api_key.get_secret_value()
        if self.key_name is None or _is_private(self.base_url):
            return "none-needed"
        raise no_key(self)


class Answer(Value):
    """What an adapter makes of a reply: unpriced usage, and the provider's own words for everything else."""

    content: tuple[Block, ...]
    stop_reason: Literal["end", "tool_use", "max_tokens", "refusal", "other"] = "end"
    usage: Usage
    usage_known: bool = True
    """False: the server told no usage; the counts are estimates and the price is unknown."""
    model: str | None = None
    """The name the provider answered under."""
    request_id: str | None = None


class Adapter(Protocol):
    async def ask(self, model: str, request: ModelRequest) -> Answer:
        """One attempt, no retries; raises Failure."""

    async def aclose(self) -> None: ...


def find_provider(
    name: str,
    settings: Mapping[str, ProviderSettings],
    variables: Mapping[str, str],
    timeout: float = 600.0,
    cache_ttl: Literal["5m", "1h"] = "5m",
) -> Provider:
    """The provider called `name`; raises UnknownName."""
    own, known = settings.get(name), known_providers()
    row = known.get(name)
    if own is None and row is None:
        hint = f"describe it in harness.yaml: providers > {name} > base_url"
        raise UnknownName("provider", name, {*settings, *known}, hint)
    spoken = {"messages": "anthropic", "chat": "openai", "responses": "openai_responses"}
    shape: Format = spoken[row["speaks"][0]] if row else "openai"  # type: ignore[assignment]  # values of the table
    if own is not None and "format" in own.model_fields_set:
        shape = own.format
    url = (
        (own.base_url if own else None)
        or variables.get(BASE_URL_VARIABLES.get(name, ""))
        or (row or {}).get("base_url")
    )
    if not url:
        raise UnknownName("provider", name, known, f"say where it is in harness.yaml: providers > {name} > base_url")
    key_name = (own.api_key_env if own else None) or (row or {}).get("key")
    found = (key_name and variables.get(key_name)) or variables.get(OTHER_KEY_VARIABLES.get(name, ""))
    key = (own.api_key if own else None) or (SecretStr(found) if found else None)
    if own is not None and own.api_key is None and own.api_key_env is None and row is None and key is None:
        key_name = f"{name.upper().replace('-', '_')}_API_KEY"
        key = SecretStr(variables[key_name]) if variables.get(key_name) else None
    return Provider(name, shape, url.rstrip("/"), key, key_name, timeout, cache_ttl)


def no_key(provider: Provider, said: str = "") -> ModelAuthError:
    """The error for a key that is missing or refused, with the cure."""
    problem = f"{provider.name} refused the key: {said}" if said else f"there is no key for {provider.name}"
    if provider.key_name is None:
        return ModelAuthError(problem, f"check the keys that {provider.name} at {provider.base_url} was started with")
    variable = provider.key_name
    return ModelAuthError(problem, f"export {variable}=…, or set providers > {provider.name} > api_key in harness.yaml")


def _is_private(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".local", ".internal")) or "." not in host:
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
