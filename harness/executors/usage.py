"""What agents tell of themselves in their JSON events: usage, last words, errors, and the tools they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.types import Usage


@dataclass
class Told:
    """Gathered from an agent's output, event by event."""

    usage: Usage = field(default_factory=Usage)
    known: bool = False
    """Whether it told any usage."""
    summary: str = ""
    error: str | None = None
    turns: int = 0
    tools: list[str] = field(default_factory=list)
    """Of the event just read."""


Reader = Callable[[Told, dict[str, Any]], None]


def codex(told: Told, event: dict[str, Any]) -> None:
    """`codex exec --json`. Its input tokens include the cached ones, as everywhere at OpenAI."""
    item = event.get("item") or {}
    if event.get("type") == "turn.completed":
        used = event.get("usage") or {}
        read, written = used.get("cached_input_tokens", 0), used.get("cache_write_input_tokens", 0)
        told.known = True
        told.usage += Usage(
            requests=1,
            input_tokens=max(0, used.get("input_tokens", 0) - read - written),
            output_tokens=used.get("output_tokens", 0),
            cache_read_tokens=read,
            cache_write_5m_tokens=written,
        )
    elif event.get("type") in ("turn.failed", "error"):
        told.error = str((event.get("error") or event).get("message") or event)
    elif event.get("type") == "item.completed" and item.get("type") == "agent_message":
        told.summary = str(item.get("text") or "")
    elif event.get("type") == "item.started" and item.get("type") != "agent_message":
        told.turns += 1
        told.tools = [f"{item.get('type')} {str(item.get('command') or '')[:100]}".strip()]


def opencode(told: Told, event: dict[str, Any]) -> None:
    """`opencode run --format json`."""
    part = event.get("part") or {}
    if event.get("type") == "step_finish":
        used, cache = part.get("tokens") or {}, (part.get("tokens") or {}).get("cache") or {}
        told.known = True
        told.usage += Usage(
            requests=1,
            input_tokens=used.get("input", 0),
            output_tokens=used.get("output", 0) + used.get("reasoning", 0),
            cache_read_tokens=cache.get("read", 0),
            cache_write_5m_tokens=cache.get("write", 0),
        )
    elif event.get("type") == "text":
        told.summary = str(part.get("text") or "")
    elif event.get("type") == "error":
        problem = event.get("error") or {}
        told.error = str((problem.get("data") or {}).get("message") or problem.get("name") or event)
    elif event.get("type") == "tool_use":
        told.turns += 1
        given = (part.get("state") or {}).get("input") or {}
        told.tools = [f"{part.get('tool')} {str(given.get('command') or given.get('filePath') or '')[:100]}".strip()]


READERS: dict[str, Reader] = {"codex": codex, "opencode": opencode}
