"""A metrics source as the configuration would hold it."""

from __future__ import annotations

from collections.abc import Mapping


class Catalogue:
    """Costs, or whatever `type` says, from `provider`."""

    def __init__(self, provider: str, type: str = "cost", aliases: Mapping[str, str] | None = None) -> None:
        self.type, self.provider = type, provider
        self.url: str | None = None
        self.query: str | None = None
        self.refresh_interval: float | None = None
        self.model_aliases = aliases or {}
