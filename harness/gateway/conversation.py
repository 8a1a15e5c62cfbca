"""What routing may look at in a request: the turns of the conversation and a few facts, whatever the wire format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.targets import WireName
from harness.gateway.exchange import Asked
from harness.gateway.refusal import Refusal

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)
_IMAGES = frozenset(("image", "image_url", "input_image"))
_TEXTS = frozenset(("text", "input_text", "output_text"))
IMAGE_TOKENS = 1_500
"""A picture's weight when context is measured; providers charge about 1,100–1,600 for a full-size one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message's text; `tool` is a tool result, which no person wrote."""

    role: str
    text: str
    tool: bool = False


def items(form: WireName, body: Mapping[str, Any]) -> list[Any]:
    """The messages, as the format holds them; raises Refusal for what is no list of objects."""
    name = "input" if form == "responses" else "messages"
    found = body.get(name)
    if form == "responses" and isinstance(found, str):
        return [{"role": "user", "content": found}]
    if found is None:
        raise Refusal(400, f"{name}: is required", param=name)
    if not isinstance(found, list):
        raise Refusal(400, f"{name}: expected an array{' or a string' if form == 'responses' else ''}", param=name)
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise Refusal(400, f"{name}.{number}: expected an object", param=f"{name}.{number}")
    return found


def turns(asked: Asked) -> list[Turn]:
    """User, assistant and tool turns in order; the system prompt has no say in routing."""
    return list(_turns(items(asked.form, asked.body)))


def _turns(found: list[Any]) -> Iterator[Turn]:
    for item in found:
        role, kind = item.get("role"), item.get("type")
        if role in ("system", "developer"):
            continue
        if role == "tool" or (isinstance(kind, str) and kind.endswith("_output")):
            yield Turn("tool", _text(item.get("content") or item.get("output")), tool=True)
        elif role in ("user", "assistant"):
            content = item.get("content")
            text = _REMINDER.sub("", _text(content)).strip()
            yield Turn(role, text, tool=not text and _has_type(content, "tool_result"))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
    )


def _has_type(content: Any, *kinds: str) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("type") in kinds for part in content)


def last_user_text(all_turns: list[Turn]) -> str:
    """The newest text a person wrote, system reminders removed; empty when there is none."""
    return next((turn.text for turn in reversed(all_turns) if turn.role == "user" and turn.text), "")


def is_user_turn(all_turns: list[Turn]) -> bool:
    """Whether the newest message is a person's words, and not a tool's result, an assistant's or a reminder."""
    return bool(all_turns) and all_turns[-1].role == "user" and bool(all_turns[-1].text)


def has_image(asked: Asked) -> bool:
    """Whether the newest user message holds a picture."""
    for item in reversed(items(asked.form, asked.body)):
        if item.get("role") == "user":
            return _has_type(item.get("content"), *_IMAGES)
    return False


def tool_names(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Types and names of the tools offered."""
    found: list[str] = []
    offered = body.get("tools")
    for tool in offered if isinstance(offered, list) else ():
        if isinstance(tool, dict):
            inner = tool.get("function")
            found += [
                value
                for value in (
                    tool.get("type"),
                    tool.get("name"),
                    inner.get("name") if isinstance(inner, dict) else None,
                )
                if isinstance(value, str)
            ]
    return tuple(found)


def wants_thinking(body: Mapping[str, Any]) -> bool:
    """Whether the request itself turns on extended thinking."""
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def estimated_tokens(asked: Asked) -> int:
    """Input tokens, estimated: four characters each, pictures by a flat figure, base64 not counted."""
    return _weigh(asked.body) // 4


def _weigh(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        if value.get("type") in _IMAGES:
            return 4 * IMAGE_TOKENS
        return sum(len(key) + _weigh(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(_weigh, value))
    return 2
