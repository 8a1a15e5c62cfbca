"""The one contract, over every client: scripted, the pool on each wire format, and Plano."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.config.settings import Settings
from harness.models.client import PooledModelClient
from harness.models.plano import connect as connect_plano
from harness.models.script import Script
from harness.models.scripted import ScriptedModelClient
from harness.protocols import ModelClient
from tests.contracts.model_client import ModelClientContract, Open
from tests.wire import WireServer


def settings_for(url: str, shape: str) -> Settings:
    data: dict[str, Any] = {"models": {"retries": 0}}
    if shape == "plano":
        data["routing"] = {"mode": "plano_proxy", "proxy": {"base_url": url}}
    else:
        data["providers"] = {"anthropic": {"base_url": url, "format": shape, "api_key": "test-key"}}
    return Settings.model_validate(data)


class OverTheWire(ModelClientContract):
    __test__ = False
    shape = ""

    @pytest.fixture
    def open_client(self) -> Iterator[Open]:
        with ExitStack() as stack:

            def opened(script: Script) -> ModelClient:
                server = stack.enter_context(WireServer(script))
                settings = settings_for(server.url, self.shape)
                if self.shape == "plano":
                    return connect_plano(settings, {})
                return PooledModelClient(settings, variables={})

            yield opened


class TestAnthropic(OverTheWire):
    __test__ = True
    shape = "anthropic"


class TestOpenAI(OverTheWire):
    __test__ = True
    shape = "openai"


class TestResponses(OverTheWire):
    __test__ = True
    shape = "openai_responses"


class TestPlano(OverTheWire):
    __test__ = True
    shape = "plano"


class TestScripted(ModelClientContract):
    @pytest.fixture
    def open_client(self) -> Open:
        return ScriptedModelClient
