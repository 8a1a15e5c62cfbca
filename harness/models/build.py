"""Settings → the one ModelClient they ask for."""

from __future__ import annotations

import importlib

from harness.config.settings import Settings
from harness.models.client import PooledModelClient
from harness.models.scripted import connect as connect_script
from harness.protocols import ModelClient


def build_client(settings: Settings) -> ModelClient:
    """The scripted client where `models > script` names a file, else the one of `routing > mode`.

    Raises ConfigError for a script that cannot be read.
    """
    if settings.models.script is not None:
        return connect_script(settings)
    mode = settings.routing.mode
    if mode in ("plano_proxy", "plano_embedded"):
        plano = importlib.import_module("harness.models.plano")
        client: ModelClient = plano.connect(settings)
        return client
    if mode == "policy":
        return PooledModelClient(settings, choose=importlib.import_module("harness.models.policy").Policy(settings))
    return PooledModelClient(settings)
