"""What prompt caching does to a bill, by the providers' published rules; for estimates, and for the tests' server.

Anthropic (docs: "Prompt caching"): a prefix is tools, then system, then messages; a breakpoint writes the prefix up to
it; a lookup goes back from each breakpoint over at most 20 blocks and reads the longest prefix that was written;
prefixes under a minimum length are not cached; an entry can be read once the response that wrote it has begun, lives
five minutes or an hour, and lives on each time it is read.
OpenAI (docs: "Prompt caching"): automatic, prefixes from 1,024 tokens on, nothing charged for writing.

A token is taken as four characters of the request's JSON.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.types import Usage

CHARS_PER_TOKEN = 4
MINIMUM_TOKENS = 1024
LOOK_BACK = 20
LIFETIMES = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True)
class Part:
    """One block of a prompt; `ttl` is set where a breakpoint follows it."""

    text: str
    ttl: str | None = None


@dataclass(frozen=True)
class Bill:
    """What the input of one call costs in tokens, and the entries that can be read once its response has begun."""

    usage: Usage
    entries: tuple[tuple[str, str], ...] = ()


def anthropic_parts(body: Mapping[str, Any]) -> tuple[Part, ...]:
    """A Messages body as parts, in the order in which it is cached."""
    blocks: list[tuple[str, Any]] = [("tool", tool) for tool in body.get("tools") or ()]
    blocks += [("system", block) for block in _blocks(body.get("system"))]
    for message in body.get("messages") or ():
        blocks += [(message.get("role", ""), block) for block in _blocks(message.get("content"))]
    return tuple(_part(role, block) for role, block in blocks)


def openai_parts(body: Mapping[str, Any]) -> tuple[Part, ...]:
    """A Chat Completions or Responses body as parts."""
    messages = body.get("messages") or body.get("input") or ()
    given: list[Any] = [*(body.get("tools") or ()), *([body["instructions"]] if body.get("instructions") else ())]
    given += [messages] if isinstance(messages, str) else list(messages)
    return tuple(Part(json.dumps(block, sort_keys=True, ensure_ascii=False)) for block in given)


def tokens_in(text: str) -> int:
    """Estimated tokens of a text."""
    return -(-len(text) // CHARS_PER_TOKEN)


class PromptCache:
    """The cache of one provider: what has been written, by model, and until when it lives."""

    def __init__(self, minimum: int = MINIMUM_TOKENS, clock: Callable[[], float] = time.monotonic) -> None:
        self._minimum, self._clock = minimum, clock
        self._entries: dict[str, tuple[float, float]] = {}
        """Prefix → when it dies, its lifetime."""

    def explicit(self, model: str, parts: Sequence[Part]) -> Bill:
        """The bill where breakpoints say what is cached and writing is charged for."""
        keys, ends = _prefixes(model, parts)
        marks = [number for number, part in enumerate(parts) if part.ttl]
        read = max((self._found(keys, mark) for mark in marks), default=-1)
        start = ends[read] if read >= 0 else 0
        written = {"5m": 0, "1h": 0}
        entries = []
        at = start
        for mark in marks:
            if ends[mark] <= at or ends[mark] < self._minimum:
                continue
            ttl = parts[mark].ttl or "5m"
            written[ttl] += ends[mark] - at
            entries.append((keys[mark], ttl))
            at = ends[mark]
        usage = Usage(
            requests=1,
            input_tokens=(ends[-1] if ends else 0) - at,
            cache_read_tokens=start,
            cache_write_5m_tokens=written["5m"],
            cache_write_1h_tokens=written["1h"],
        )
        return Bill(usage, tuple(entries))

    def automatic(self, model: str, parts: Sequence[Part]) -> Bill:
        """The bill where every prefix is cached by itself and writing is free."""
        keys, ends = _prefixes(model, parts)
        read = next((n for n in reversed(range(len(keys))) if self._alive(keys[n])), -1)
        start = ends[read] if read >= 0 else 0
        entries = tuple((key, "5m") for key, end in zip(keys, ends, strict=True) if end >= self._minimum)
        usage = Usage(requests=1, input_tokens=(ends[-1] if ends else 0) - start, cache_read_tokens=start)
        return Bill(usage, entries)

    def began(self, bill: Bill) -> None:
        """The response has begun: what it wrote can be read from now on."""
        for key, ttl in bill.entries:
            self._entries[key] = (self._clock() + LIFETIMES[ttl], LIFETIMES[ttl])

    def _found(self, keys: Sequence[str], mark: int) -> int:
        for number in range(mark, max(-1, mark - LOOK_BACK), -1):
            if self._alive(keys[number]):
                return number
        return -1

    def _alive(self, key: str) -> bool:
        dies, lifetime = self._entries.get(key, (0.0, 0.0))
        now = self._clock()
        if lifetime and now <= dies:
            self._entries[key] = (now + lifetime, lifetime)
            return True
        return False


def _prefixes(model: str, parts: Sequence[Part]) -> tuple[list[str], list[int]]:
    """For each part: a name for the prompt up to it, and how many tokens that is."""
    digest, chars = hashlib.sha256(model.encode()), 0
    keys, ends = [], []
    for part in parts:
        digest.update(hashlib.sha256(part.text.encode()).digest())
        chars += len(part.text)
        keys.append(digest.hexdigest())
        ends.append(-(-chars // CHARS_PER_TOKEN))
    return keys, ends


def _blocks(content: Any) -> list[Any]:
    if not content:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _part(role: str, block: Any) -> Part:
    if not isinstance(block, dict):
        return Part(f"{role}{block}")
    control = block.get("cache_control")
    bare = {key: value for key, value in block.items() if key != "cache_control"}
    text = bare["text"] if set(bare) == {"type", "text"} else json.dumps(bare, sort_keys=True, ensure_ascii=False)
    return Part(f"{role}{text}", (control.get("ttl") or "5m") if control else None)
