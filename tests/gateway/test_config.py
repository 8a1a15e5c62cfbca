"""Configurations of all three forms, what each means, and what `harness config` and `harness serve` make of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from harness.cli import main
from harness.config.gateway import build, gateway_settings
from harness.config.router_toml import router_section
from harness.config.settings import Settings
from harness.errors import ConfigError, HarnessError
from harness.gateway.filters import Filters
from tests.gateway.running import settings_for

EXAMPLES = Path(__file__).parents[2] / "examples" / "gateway"
PLANO: dict[str, Any] = {
    "version": "v0.4.0", "listeners": [{"type": "model", "name": "m", "port": 12000}],
    "model_providers": [{"model": "openai/gpt-4o", "access_key": "$OPENAI_API_KEY"}],
}  # fmt: skip


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.[ty]*ml")), ids=lambda file: file.name)
def test_examples_are_valid_and_survive_importing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check", str(file)]) == 0
    assert "valid" in capsys.readouterr().out
    if file.name == "harness.yaml":
        return
    assert main(["config", "import", str(file)]) == 0
    imported = tmp_path / "harness.yaml"
    imported.write_text(capsys.readouterr().out)
    keys = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}
    before, after = gateway_settings(Settings(), file, keys), gateway_settings(Settings(), imported, keys)
    assert before.section == after.section and before.targets == after.targets


def test_a_guides_few_lines_of_plano_are_a_configuration(tmp_path: Path) -> None:
    """Without version and listeners, as Plano's own guides and demonstrations show it."""
    file = tmp_path / "config.yaml"
    route = {"name": "code_generation", "description": "generating new code, writing functions"}
    rows = [
        {"model": "openai/gpt-4o-mini", "default": True},
        {"model": "openai/gpt-4o", "routing_preferences": [route]},
    ]
    file.write_text(yaml.safe_dump({"model_providers": rows}))
    built = gateway_settings(Settings(), file, {})
    assert (built.section.host, built.section.port, built.default) == ("127.0.0.1", 12000, "openai/gpt-4o-mini")
    assert [route.models for route in built.section.routes] == [("openai/gpt-4o",)]
    assert any("version" in warning for warning in built.warnings) and any("12000" in told for told in built.warnings)


def test_the_toml_form() -> None:
    data = {"router": {"think": "openrouter,anthropic/claude-3-opus | groq,llama", "long_context_threshold": 5}}
    section = router_section(data, "config.toml")
    assert section["scenarios"]["chains"] == {"think": ["openrouter/anthropic/claude-3-opus", "groq/llama"]}
    assert settings_for(section).section.scenarios.long_context_threshold == 5


@pytest.mark.parametrize(
    "router,told",
    [
        ({"thnik": "a,b"}, "did you mean 'think'"),
        ({"think": "no-comma"}, 'expected "provider,model"'),
        ({"think": 3}, "expected"),
        ({"think": "nobody,x"}, "no model 'nobody/x'"),
        ({"think": "openai,"}, 'expected "provider,model"'),
    ],
)
def test_the_toml_form_says_what_is_wrong(router: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings_for(router_section({"router": router}, "config.toml"))


@pytest.mark.parametrize(
    "section,told",
    [
        ({"models": ["gpt-4o"]}, "no provider"),
        ({"models": ["opnai/x"]}, "did you mean 'openai'"),
        ({"modles": []}, "did you mean 'models'"),
        ({"models": [{"model": "openai/a", "default": True}, {"model": "openai/b", "default": True}]}, "two defaults"),
        ({"models": ["openai/a", "openai/a"]}, "stands twice"),
        ({"aliases": {"a": "b", "b": "a"}}, "circle"),
        ({"models": ["openai/a"], "aliases": {"a1": "gpt-9"}}, "no model 'gpt-9'"),
        ({"session": {"max_entries": 10001}}, "10000"),
        ({"models": [{"model": "x/y", "interface": "openai", "base_url": "localhost:80"}]}, "is no URL"),
        ({"routes": [{"name": "a", "description": "b"}]}, "has no models"),
        ({"session": {"url": "http://x"}}, "redis://"),
        ({"session": {"budget": {"max_switch_spend_pct": 20}}}, "cost source"),
        ({"filters": [{"name": "x", "pattern": "("}]}, "no regular expression"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(section: dict[str, Any], told: str) -> None:
    with pytest.raises(HarnessError, match=told):
        Filters(settings_for(section).section.filters)


@pytest.mark.parametrize(
    "change,told",
    [
        ({"agents": [{"id": "a", "url": "http://x"}]}, "agents"),
        ({"filters": [{"id": "f", "url": "http://x"}]}, "filters"),
        ({"prompt_targets": [{"name": "x", "description": "y"}]}, "prompt_targets"),
        ({"system_prompt": "x"}, "system_prompt"),
        ({"tracing": {"opentracing_grpc_endpoint": "http://x:4317"}}, "tracing > opentracing_grpc_endpoint"),
        ({"state_storage": {"type": "postgres", "connection_string": "x"}}, "state_storage"),
        ({"mode": "prompt"}, "mode"),
        ({"overrides": {"upstream_tls_ca_path": "/x"}}, "overrides > upstream_tls_ca_path"),
        (
            {"model_providers": [{"model": "amazon_bedrock/x", "base_url": "http://x"}]},
            "amazon_bedrock is not supported",
        ),
        ({"listeners": [{"type": "agent", "name": "a"}]}, "no listener of type model"),
        ({"foo": 1}, "unknown key 'foo'"),
    ],
)
def test_what_plano_has_and_we_have_not_is_refused_by_name(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = tmp_path / "plano_config.yaml"
    file.write_text(yaml.safe_dump({**PLANO, **change}))
    with pytest.raises(ConfigError, match=told):
        gateway_settings(Settings(), file, {})


@pytest.mark.parametrize(
    "change,place",
    [
        ({"model_aliases": {"a": {"target": "b"}, "b": {"target": "a"}}}, "model_aliases > a: goes in a circle"),
        ({"routing_preferences": [{"name": "r", "description": "d", "models": ["x/y"]}]}, "routing_preferences > 0 > "),
        ({"model_metrics_sources": [{"type": "cost", "provider": "acme"}]}, "model_metrics_sources > 0 > provider: "),
        ({"model_providers": [{"model": f"openai/{name}", "default": True} for name in "ab"]}, "model_providers: two "),
    ],
)
def test_errors_name_the_keys_of_the_file_that_was_given(change: dict[str, Any], place: str, tmp_path: Path) -> None:
    file = tmp_path / "plano_config.yaml"
    file.write_text(yaml.safe_dump({**PLANO, **change}))
    with pytest.raises(ConfigError) as refused:
        gateway_settings(Settings(), file, {"OPENAI_API_KEY": "k"})
    assert refused.value.message.startswith(f"{file}: {place}")
    toml = tmp_path / "config.toml"
    toml.write_text('[router]\nthink = "nobody,m"\n')
    with pytest.raises(ConfigError, match="router > think: no model"):
        gateway_settings(Settings(), toml, {})


def test_an_open_address_stays_closed_and_unset_keys_stop_requests_only(tmp_path: Path) -> None:
    file = tmp_path / "plano_config.yaml"
    file.write_text(yaml.safe_dump({**PLANO, "listeners": [{"type": "model", "name": "m", "address": "0.0.0.0"}]}))
    built = gateway_settings(Settings(), file, {})
    assert built.section.host == "127.0.0.1" and built.section.port == 12000
    assert built.targets["openai/gpt-4o"].missing_key == "OPENAI_API_KEY"
    assert any("0.0.0.0" in warning for warning in built.warnings)
    assert any("OPENAI_API_KEY is not set" in warning for warning in built.warnings)


def test_keys_of_the_environment_go_home_only() -> None:
    section = {"models": [{"model": "openai/*"}, {"model": "anthropic/*", "base_url": "http://localhost:1"}]}
    built = build(section, Settings(), "t", {"OPENAI_API_KEY": "sk-a", "ANTHROPIC_API_KEY": "sk-b"})
    assert built.targets["openai/*"].api_key is not None and built.targets["anthropic/*"].api_key is None
    assert "sk-a" not in repr(built)


def test_serve_says_where_and_stops_cleanly(tmp_path: Path) -> None:
    """The command as a user runs it: no configuration, no key, a decision."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "harness", "serve", "-C", str(tmp_path), "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        body = {
            "model": "gpt-4o-mini",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Write binary search in Python"}],
        }
        decision = httpx2.post(f"{url}/routing/v1/messages", json=body, timeout=15).json()
        assert decision["route"] == "code_generation" and decision["model"] == "anthropic/claude-haiku-5-5"
        upgrade = {"connection": "Upgrade", "upgrade": "websocket"}  # codex tries one first
        assert httpx2.get(f"{url}/v1/responses", headers=upgrade).status_code == 426
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)
        told = process.stderr.read()
        assert "Traceback" not in told and "WebSocket library" not in told


def test_a_public_address_is_refused_by_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", "-C", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "no token is set" in capsys.readouterr().err
