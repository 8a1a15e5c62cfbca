"""Settings → the one ModelClient they ask for."""

from __future__ import annotations

import importlib

from harness.config.settings import Settings
from harness.models.client import Choose, PooledModelClient
from harness.models.scripted import connect as connect_script
from harness.protocols import ModelClient


def build_client(settings: Settings, choose: Choose | None = None) -> ModelClient:
    """The scripted client where `models > script` names a file, else the one of `routing > mode`.

    `choose` is what mode `policy` asks for each request's pool. Raises ConfigError for a script that cannot be read.
    """
    if settings.models.script is not None:
        return connect_script(settings)
    mode = settings.routing.mode
    if mode in ("plano_proxy", "plano_embedded"):
        plano = importlib.import_module("harness.models.plano")
        client: ModelClient = plano.connect(settings)
        return client
    return PooledModelClient(settings, choose=choose if mode == "policy" else None)
