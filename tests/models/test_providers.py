"""Where a provider is, how it is spoken to, and whose key is taken."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from harness.config.settings import ProviderSettings
from harness.errors import ModelAuthError, UnknownName
from harness.models.providers import Provider, find_provider


def found(name: str, variables: dict[str, str] | None = None, **own: Any) -> Provider:
    settings = {name: ProviderSettings(**own)} if own else {}
    return find_provider(name, settings, variables or {})


@pytest.mark.parametrize(("name", "shape", "host", "key"), [
    ("anthropic", "anthropic", "api.anthropic.com", "ANTHROPIC_API_KEY"),
    ("openai", "openai", "api.openai.com", "OPENAI_API_KEY"),
    ("openrouter", "openai", "openrouter.ai", "OPENROUTER_API_KEY"),
    ("chatgpt", "openai_responses", "chatgpt.com", "CHATGPT_ACCESS_TOKEN"),
])  # fmt: skip
def test_known_providers_need_no_settings(name: str, shape: str, host: str, key: str) -> None:
    provider = found(name, {key: "secret"})
    assert (provider.format, provider.key) == (shape, "secret") and host in provider.base_url
    with pytest.raises(ModelAuthError, match=f"there is no key for {name}"):
        _ = found(name).key


def test_settings_win_over_the_environment_and_that_over_the_table() -> None:
    variables = {"ANTHROPIC_BASE_URL": "http://proxy.example.org", "ANTHROPIC_API_KEY": "from-env"}
    assert found("anthropic", variables).base_url == "http://proxy.example.org"
    own = found("anthropic", variables, base_url="http://mine.example.org/", api_key=SecretStr("own"))
    assert (own.base_url, own.key, own.format) == ("http://mine.example.org", "own", "anthropic")
    assert found("anthropic", {**variables, "MY_KEY": "mine"}, api_key_env="MY_KEY").key == "mine"


def test_anthropics_token_serves_where_there_is_no_key() -> None:
    assert found("anthropic", {"ANTHROPIC_AUTH_TOKEN": "token"}).key == "token"
    assert found("anthropic", {"ANTHROPIC_AUTH_TOKEN": "token", "ANTHROPIC_API_KEY": "key"}).key == "key"


def test_one_provider_may_be_spoken_to_in_another_format() -> None:
    assert found("openai", format="openai_responses").format == "openai_responses"
    assert found("openai", {"OPENAI_API_KEY": "k"}, base_url="http://x.example.org").format == "openai"


@pytest.mark.parametrize("url", [
    "http://localhost:11434/v1", "http://127.0.0.1:8000", "http://10.1.2.3/v1", "http://gpu-box:8000/v1",
    "http://vllm.internal/v1", "http://[::1]:8000",
])  # fmt: skip
def test_servers_nearby_need_no_key(url: str) -> None:
    assert found("mine", base_url=url).key == "none-needed"


def test_a_server_far_away_does_and_its_variable_follows_from_its_name() -> None:
    with pytest.raises(ModelAuthError) as caught:
        _ = found("my-host", base_url="https://models.example.org/v1").key
    assert "export MY_HOST_API_KEY=" in str(caught.value.hint)
    assert found("my-host", {"MY_HOST_API_KEY": "k"}, base_url="https://models.example.org/v1").key == "k"


def test_an_unknown_provider_is_named_with_the_cure() -> None:
    with pytest.raises(UnknownName, match=r"unknown provider 'opnai'; known: .* did you mean 'openai'") as caught:
        found("opnai")
    assert "providers > opnai > base_url" in str(caught.value.hint)
    with pytest.raises(UnknownName, match="unknown provider 'mine'"):
        found("mine", api_key=SecretStr("k"))


def test_a_key_does_not_show_in_a_providers_own_text() -> None:
    assert "secret-value" not in repr(found("anthropic", {"ANTHROPIC_API_KEY": "secret-value"}))
