"""One request on its way through the gateway: what was asked, what was decided, what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.config.targets import Target, WireName
from harness.routing.affinity import Session
from harness.types import Usage


@dataclass(slots=True)
class Asked:
    """A client's request, its body parsed once."""

    form: WireName
    raw: bytes
    body: dict[str, Any]
    headers: dict[str, str]
    """Names in lower case."""
    query: str = ""

    @property
    def model(self) -> str:
        model = self.body.get("model")
        return model if isinstance(model, str) else ""

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True


@dataclass(slots=True, frozen=True)
class Decision:
    """Which models to try, in order, and why."""

    targets: tuple[Target, ...]
    route: str | None
    """Name of the scenario or preference; None when neither had a say."""
    reason: str
    models: tuple[str, ...] = ()
    """Names as decided; a decision endpoint may name models that this gateway does not serve."""
    scenario: str | None = None
    session: str | None = None
    """The session's id, as the client said it."""
    pinned: bool = False
    switched: bool = False
    pin: Session | None = None
    """Where the session's decision is kept, for what is learned from the answer."""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Record:
    """What the operations page and the metrics remember of one request."""

    requested: str
    form: WireName
    at: float = field(default_factory=time.time)
    model: str = ""
    route: str | None = None
    reason: str = ""
    session: str | None = None
    pinned: bool = False
    """A session's earlier decision was used."""
    status: int = 0
    seconds: float = 0.0
    first_byte: float | None = None
    usage: Usage | None = None
    usd: str | None = None
    """None: the price is unknown."""
    translated: bool = False
    stream: bool = False
    complete: bool = False
    """The client has the whole answer."""
    fallbacks: list[str] = field(default_factory=list)
    """Models that were tried before the one that answered, each with its trouble."""
    error: str | None = None


HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "expect",
        "accept-encoding",
        "content-encoding",
    )
)
CREDENTIALS = frozenset(("authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key"))
OURS = frozenset(("x-model-affinity", "x-harness-token", "x-plano-max-switch-spend-pct"))


def credential(headers: Mapping[str, str]) -> str | None:
    """The client's own key or token: `Authorization`, with or without `Bearer`, else `x-api-key`."""
    given = headers.get("authorization", "").strip()
    if given.lower() == "bearer" or given.lower().startswith("bearer "):
        given = given[6:].strip()
    return given or headers.get("x-api-key", "").strip() or None
