"""Where a provider is and how it is spoken to: settings over the shipped table, keys from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from harness.config.settings import ProviderSettings
from harness.config.targets import known_providers
from harness.errors import ModelAuthError, UnknownName
from harness.types import Block, ModelRequest, Usage, Value

Format = Literal["anthropic", "openai", "openai_responses"]

NO_KEY = "none-needed"
"""In place of a key, for servers that ask for none."""
BASE_URL_VARIABLES = {"anthropic": "ANTHROPIC_BASE_URL", "openai": "OPENAI_BASE_URL"}
OTHER_KEY_VARIABLES = {"anthropic": "ANTHROPIC_AUTH_TOKEN"}
ADAPTERS: dict[Format, str] = {
    "anthropic": "harness.models.anthropic",
    "openai": "harness.models.openai",
    "openai_responses": "harness.models.openai_responses",
}
"""Wire format → the module whose `connect(provider)` makes the adapter; imported when first needed."""

_SPOKEN: dict[str, Format] = {"messages": "anthropic", "chat": "openai", "responses": "openai_responses"}


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
        return urlsplit(self.base_url).hostname in ("api.anthropic.com", "api.openai.com")

    @property
    def key(self) -> str:
        """The key; servers on this machine or a private network get a placeholder. Raises ModelAuthError."""
        if self.api_key is not None and self.api_key.get_secret_value():
            return self.api_key.get_secret_value()
        if self.key_name is None or _is_private(self.base_url):
            return NO_KEY
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
    row = known.get(name, {})
    if own is None and not row:
        hint = f"describe it in harness.yaml: providers > {name} > base_url"
        raise UnknownName("provider", name, {*settings, *known}, hint)
    url = (own and own.base_url) or variables.get(BASE_URL_VARIABLES.get(name, "")) or row.get("base_url")
    if not url:
        raise UnknownName("provider", name, known, f"say where it is in harness.yaml: providers > {name} > base_url")
    shape = (
        own.format if own is not None and "format" in own.model_fields_set else _SPOKEN[row.get("speaks", ["chat"])[0]]
    )
    key_name = (own and own.api_key_env) or row.get("key", f"{name.upper().replace('-', '_')}_API_KEY")
    found = variables.get(key_name or "") or variables.get(OTHER_KEY_VARIABLES.get(name, ""))
    key = (own and own.api_key) or (SecretStr(found) if found else None)
    return Provider(name, shape, url.rstrip("/"), key, key_name, timeout, cache_ttl)


def require_key(models: Iterable[str], settings: Mapping[str, ProviderSettings], variables: Mapping[str, str]) -> None:
    """Raise ModelAuthError where none of the models, `provider/model` each, can be asked for want of a key."""
    refusal: ModelAuthError | None = None
    for model in models:
        try:
            _ = find_provider(model.partition("/")[0], settings, variables).key
        except ModelAuthError as error:
            refusal = refusal or error
        else:
            return
    if refusal is not None:
        raise refusal


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
