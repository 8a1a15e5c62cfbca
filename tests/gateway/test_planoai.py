"""What Plano's own validator accepts is accepted here, and what it refuses for a reason of routing is refused here."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.gateway import gateway_settings
from harness.config.settings import Settings
from harness.errors import ConfigError

generator = pytest.importorskip("planoai.config_generator")
PACKAGE = Path(generator.__file__).parent
KEYS = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}
MODELS = (
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-6",
    "groq/llama-3",
    "openrouter/*",
    "mistral/gpt-4o",
)


def plano_accepts(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """Plano's verdict; it renders files too, into a folder that is thrown away."""
    template = next(PACKAGE.rglob("envoy.template.yaml"), None)
    if template is None:
        template = tmp_path / "envoy.template.yaml"
        template.write_text("{}")
    monkeypatch.setenv("TEMPLATE_ROOT", str(template.parent))
    monkeypatch.setenv("ENVOY_CONFIG_TEMPLATE_FILE", template.name)
    monkeypatch.setenv("PLANO_CONFIG_FILE", str(file))
    monkeypatch.setenv("PLANO_CONFIG_SCHEMA_FILE", str(next(PACKAGE.rglob("plano_config_schema.yaml"))))
    monkeypatch.setenv("PLANO_CONFIG_FILE_RENDERED", str(tmp_path / "rendered.yaml"))
    monkeypatch.setenv("ENVOY_CONFIG_FILE_RENDERED", str(tmp_path / "envoy.yaml"))
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            generator.validate_and_render_schema()
        except SystemExit as stopped:
            return not stopped.code
        except Exception:  # it raises bare Exception for every refusal
            return False
    return True


def we_accept(file: Path) -> bool:
    try:
        gateway_settings(Settings(), file, KEYS)
    except ConfigError:
        return False
    return True


provider: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"model": st.sampled_from(MODELS)},
    optional={
        "access_key": st.just("$OPENAI_API_KEY"),
        "default": st.booleans(),
        "base_url": st.sampled_from(["http://localhost:8000", "https://example.org/api/v2"]),
        "passthrough_auth": st.booleans(),
        "provider_interface": st.sampled_from(["openai", "nobody"]),
        "routing_preferences": st.just([{"name": "code", "description": "writing code"}]),
    },
)
preference: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.sampled_from(["code", "reason"]), "description": st.just("d")},
    optional={
        "models": st.lists(st.sampled_from(MODELS[:2]), max_size=2, unique=True),
        "selection_policy": st.sampled_from([{}, {"prefer": "cheapest"}, {"prefer": "best"}]),
    },
)
configuration: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["v0.1", "v0.3.0", "v0.4.0", "v9"]),
        "listeners": st.sampled_from(
            [[{"type": "model", "name": "m", "port": 12000}], {"egress_traffic": {"port": 12000}}]
        ),
        "model_providers": st.lists(provider, min_size=1, max_size=3, unique_by=lambda row: row["model"]),
    },
    optional={
        "routing_preferences": st.lists(preference, max_size=2),
        "model_aliases": st.sampled_from(
            [{"fast": {"target": "gpt-4o"}}, {"fast": {"target": "gpt-9"}}, {"fast": "gpt-4o"}]
        ),
        "routing": st.sampled_from(
            [{"session_ttl_seconds": 0}, {"session_max_entries": 10_001}, {"session_ttl_seconds": 9}]
        ),
        "unknown_key": st.just(1),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=configuration)
def test_the_same_verdict(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But for what Plano's own server refuses only when it starts: routes to undeclared models, two defaults."""
    file = tmp_path / "plano_config.yaml"
    file.write_text(yaml.safe_dump(data))
    theirs, ours = plano_accepts(file, monkeypatch, tmp_path), we_accept(file)
    declared = {row["model"] for row in data["model_providers"]}
    routed = {model for row in data.get("routing_preferences", ()) for model in row.get("models", ())}
    late = not routed <= declared or sum(bool(row.get("default")) for row in data["model_providers"]) > 1
    assert ours == theirs or (late and theirs), yaml.safe_dump(data)


def test_both_say_yes_to_a_good_file_and_no_to_a_bad_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = Path(__file__).parents[2] / "examples" / "gateway" / "plano_config.yaml"
    assert plano_accepts(good, monkeypatch, tmp_path) and we_accept(good)
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("prefer: cheapest", "prefer: best"))
    assert not plano_accepts(bad, monkeypatch, tmp_path) and not we_accept(bad)
