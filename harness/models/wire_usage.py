"""Token counts, read from replies of all three wire formats, whole or as they stream by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from harness.config.targets import WireName
from harness.types import Usage


def usage_from(form: WireName, counts: Any) -> Usage | None:
    """A `usage` object → Usage; None when there is none. OpenAI counts cached tokens as input, Anthropic does not."""
    if not isinstance(counts, Mapping):
        return None
    if form == "messages":
        created = _count(counts, "cache_creation_input_tokens")
        parts = counts.get("cache_creation")
        hour = _count(parts, "ephemeral_1h_input_tokens") if isinstance(parts, Mapping) else 0
        return Usage(
            requests=1,
            input_tokens=_count(counts, "input_tokens"),
            output_tokens=_count(counts, "output_tokens"),
            cache_read_tokens=_count(counts, "cache_read_input_tokens"),
            cache_write_5m_tokens=max(0, created - hour),
            cache_write_1h_tokens=hour,
        )
    name, out, details = (
        ("prompt_tokens", "completion_tokens", "prompt_tokens_details")
        if form == "chat"
        else ("input_tokens", "output_tokens", "input_tokens_details")
    )
    parts = counts.get(details)
    cached = _count(parts, "cached_tokens") if isinstance(parts, Mapping) else 0
    return Usage(
        requests=1,
        input_tokens=max(0, _count(counts, name) - cached),
        cache_read_tokens=cached,
        output_tokens=_count(counts, out),
    )


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


_ENDS: dict[WireName, bytes] = {"messages": b"message_stop", "chat": b"[DONE]", "responses": b"response.completed"}


class StreamTap:
    """Watches whole server-sent events go by and remembers the usage they tell; costs one search per chunk."""

    def __init__(self, form: WireName) -> None:
        self._form = form
        self._counts: dict[str, Any] = {}
        self._end = _ENDS[form]
        self.complete = False
        """The answer's last event went by; clients hang up on it."""

    def feed(self, events: bytes) -> None:
        if self._end in events:
            self.complete = True
        if b'"usage"' not in events:
            return
        for line in events.splitlines():
            if line.startswith(b"data:") and b'"usage"' in line:
                self._read(line[5:])

    def _read(self, data: bytes) -> None:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if not isinstance(event, dict):
            return
        inner = event.get("message") if self._form == "messages" else event.get("response")
        counts = event.get("usage") or (inner.get("usage") if isinstance(inner, dict) else None)
        if isinstance(counts, dict):
            self._counts |= {name: count for name, count in counts.items() if count is not None}

    @property
    def usage(self) -> Usage | None:
        return usage_from(self._form, self._counts) if self._counts else None
