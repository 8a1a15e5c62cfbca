"""The example configurations load, and give the client they promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.config.gateway import gateway_settings
from harness.config.settings import Settings, load_settings
from harness.models.build import build_client
from harness.models.client import PooledModelClient
from harness.models.plano import PlanoModelClient
from harness.models.providers import find_provider

FOLDER = Path(__file__).parents[2] / "examples" / "routing"
KEYS = {"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "ZAI_API_KEY": "k3"}


@pytest.mark.parametrize(("name", "mode", "client"), [
    ("direct", "direct", PooledModelClient), ("proxy", "plano_proxy", PlanoModelClient),
    ("embedded", "plano_embedded", PlanoModelClient), ("policy", "policy", PooledModelClient),
])  # fmt: skip
def test_each_mode_has_an_example(name: str, mode: str, client: type) -> None:
    settings = load_settings(FOLDER, FOLDER / f"{name}.yaml", variables=KEYS)
    assert settings.routing.mode == mode and isinstance(build_client(settings), client)
    for pool in settings.tiers.values():
        for model in pool:
            assert find_provider(model.partition("/")[0], settings.providers, KEYS).key in KEYS.values()


def test_the_embedded_example_finds_its_configuration() -> None:
    embedded = load_settings(FOLDER, FOLDER / "embedded.yaml", variables=KEYS).routing.embedded
    assert embedded is not None and (FOLDER / embedded.config_path).is_file()
    assert embedded.env["OPENAI_API_KEY"].get_secret_value() == "k1"


def test_planos_example_is_one_that_our_gateway_takes_too() -> None:
    gateway_settings(Settings(), FOLDER / "plano_config.yaml", KEYS)


def test_what_the_readme_shows_is_valid() -> None:
    blocks = (FOLDER / "README.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        data = yaml.safe_load(block.split("```")[0])
        tiers = data.pop("tiers", None)
        settings = Settings.model_validate(data | ({"tiers": tiers} if tiers else {}))
        for name in settings.providers:
            assert find_provider(name, settings.providers, KEYS).base_url
