"""What was said in a conversation, as routing sees it: users' and assistants' words, nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_REMINDER = re.compile(r"<system-reminder>.*?(?:</system-reminder>|\Z)\s*", re.DOTALL)
_FEW_WORDS = 4


class Spoken(Protocol):
    """One message's text and who said it."""

    @property
    def role(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    text: str


def from_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """The turns of OpenAI-style or Anthropic-style messages; those without a text (tool calls, images) are left out."""
    return said([Turn(str(message.get("role")), _text(message.get("content"))) for message in messages])


def said(turns: Sequence[Spoken]) -> tuple[Turn, ...]:
    """Users' and assistants' turns that hold words, reminders injected by clients removed."""
    spoken = (Turn(turn.role, _REMINDER.sub("", turn.text)) for turn in turns if turn.role in ("user", "assistant"))
    return tuple(turn for turn in spoken if turn.text.strip())


def query(turns: Sequence[Spoken]) -> str:
    """What the user wants now: the last user text; one of a few words ("yes, go on") brings the one before it."""
    texts = [turn.text.strip() for turn in said(turns) if turn.role == "user"]
    if len(texts) > 1 and len(texts[-1].split()) < _FEW_WORDS:
        return f"{texts[-2]}\n{texts[-1]}"
    return texts[-1] if texts else ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))
