"""Two-way translation among the three wire formats, whole and streamed."""
from __future__ import annotations
from collections.abc import AsyncIterator
from typing import Any
from harness.config.gateway import WireName
from harness.gateway.refusal import Refusal


class Translation:
    def request(self, body: dict[str, Any]) -> bytes: raise NotImplementedError
    def reply(self, body: bytes) -> bytes: raise NotImplementedError
    def error(self, body: bytes, status: int) -> bytes: raise NotImplementedError
    def stream(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]: raise NotImplementedError


def translation(client: WireName, provider: WireName) -> Translation:
    raise Refusal(501, "not yet")
