"""What a script may look at in a request, read out of each wire format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.models.headers import CALL, read_call
from harness.models.script import Facts

Wire = Literal["messages", "chat", "responses"]

PATHS: dict[str, Wire] = {"/messages": "messages", "/chat/completions": "chat", "/responses": "responses"}
PROVIDERS = {"messages": "anthropic", "chat": "openai", "responses": "openai"}
TIER_WORDS = ("haiku", "sonnet", "opus")


@dataclass(frozen=True)
class Turn:
    """One side's contribution to a conversation."""

    model: bool
    said: str = ""
    """Without tool results."""
    everything: str = ""


@dataclass(frozen=True)
class Conversation:
    system: str
    turns: tuple[Turn, ...]
    tools: tuple[str, ...] = field(default=())


def wire_of(path: str) -> Wire | None:
    """The format spoken at a path, with or without `/v1`."""
    return PATHS.get(path.removeprefix("/v1").rstrip("/"))


def facts_from(wire: Wire, body: Mapping[str, Any], headers: Mapping[str, str], tiers: Mapping[str, str]) -> Facts:
    """The call's facts; phase, task and the like are known only where the caller sends `X-Harness-Call`."""
    talk = {"messages": _messages, "chat": _chat, "responses": _responses}[wire](body)
    told = read_call(headers.get(CALL.lower(), ""))
    model = str(body.get("model", ""))
    ours = [number for number, turn in enumerate(talk.turns) if turn.model]
    latest = talk.turns[ours[-1] + 1 :] if ours else talk.turns
    users = [turn for turn in talk.turns if not turn.model]
    return Facts(
        phase=told.get("phase"),
        issue=told.get("issue"),
        task=told.get("task"),
        tier=told.get("tier") or tiers.get(model) or next((tier for tier in TIER_WORDS if tier in model), None),
        model=model if "/" in model else f"{PROVIDERS[wire]}/{model}",
        attempt=int(told["attempt"]) if "attempt" in told else None,
        turn=max(int(told.get("turn", 1)), 1 + len(ours)),
        last="\n".join(turn.everything for turn in latest),
        prompt="\n".join((talk.system, *(turn.everything for turn in talk.turns))),
        said="\n".join(turn.said for turn in users),
        offers=talk.tools,
    )


def _messages(body: Mapping[str, Any]) -> Conversation:
    turns = [_turn(message["role"] == "assistant", message.get("content")) for message in body.get("messages", ())]
    tools = tuple(str(tool.get("name", "")) for tool in body.get("tools") or ())
    return Conversation(_text(body.get("system"))[1], _joined(turns), tools)


def _chat(body: Mapping[str, Any]) -> Conversation:
    system, turns = [], []
    for message in body.get("messages", ()):
        role, content = message["role"], message.get("content")
        if role in ("system", "developer"):
            system.append(_text(content)[1])
        elif role == "tool":
            turns.append(Turn(False, "", _text(content)[1]))
        else:
            calls = "\n".join(
                json.dumps(call.get("function"), ensure_ascii=False) for call in message.get("tool_calls") or ()
            )
            said, everything = _text(content)
            turns.append(Turn(role == "assistant", said, "\n".join(filter(None, (everything, calls)))))
    tools = tuple(str((tool.get("function") or tool).get("name", "")) for tool in body.get("tools") or ())
    return Conversation("\n".join(system), _joined(turns), tools)


def _responses(body: Mapping[str, Any]) -> Conversation:
    system, turns = [str(body.get("instructions") or "")], []
    given = body.get("input") or ()
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "message" and item.get("role") in ("system", "developer"):
            system.append(_text(item.get("content"))[1])
        elif kind == "message":
            turns.append(_turn(item.get("role") == "assistant", item.get("content")))
        elif kind.endswith("_output"):
            turns.append(Turn(False, "", _text(item.get("output"))[1]))
        else:
            turns.append(Turn(True, "", json.dumps(item, ensure_ascii=False)))
    tools = tuple(str(tool.get("name") or tool.get("type", "")) for tool in body.get("tools") or ())
    return Conversation("\n".join(system), _joined(turns), tools)


def _turn(model: bool, content: Any) -> Turn:
    said, everything = _text(content)
    return Turn(model, said, everything)


def _joined(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Neighbours of the same side as one turn."""
    result: list[Turn] = []
    for turn in turns:
        if result and result[-1].model == turn.model:
            before = result.pop()
            said = "\n".join(filter(None, (before.said, turn.said)))
            turn = Turn(turn.model, said, "\n".join(filter(None, (before.everything, turn.everything))))
        result.append(turn)
    return tuple(result)


def _text(content: Any) -> tuple[str, str]:
    """(text without tool results, all of it) of a content field in any of its forms."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, content
    said, everything = [], []
    for block in content:
        if isinstance(block, str):
            text, is_text = block, True
        elif "text" in block:
            text, is_text = str(block["text"]), True
        elif block.get("type") == "tool_result":
            text, is_text = _text(block.get("content"))[1], False
        else:
            text, is_text = json.dumps(block, ensure_ascii=False), False
        everything.append(text)
        if is_text:
            said.append(text)
    return "\n".join(said), "\n".join(everything)
