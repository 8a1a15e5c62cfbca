"""Whether traces are wanted, before anything is loaded that could make them."""

from __future__ import annotations

from harness.config.reading import environment
from harness.config.settings import Settings

COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Standard variables that name a collector."""


def tracing_wanted(settings: Settings) -> bool:
    """What `tracing > enabled` says; else whether the environment names a collector and does not switch traces off."""
    variables = environment()
    switched_off = (
        variables.get("OTEL_SDK_DISABLED", "").lower() == "true" or variables.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if settings.tracing.enabled is None:
        return not switched_off and any(variables.get(name) for name in COLLECTOR_VARIABLES)
    return settings.tracing.enabled and not switched_off
