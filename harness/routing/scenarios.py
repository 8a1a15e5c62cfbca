"""Which scenario a chat request belongs to: image, web_search, long_context, plan_implementation, think, background.

Planning in order to build goes to a small, fast model; planning as such goes to a strong one. Everything here is pure:
the gateway reads the facts off the wire and hands them in.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

SCENARIOS = ("image", "web_search", "long_context", "plan_implementation", "think", "background", "default")
"""In the order in which they are asked."""

PLAN_IMPLEMENTATION_LOG = "Plan implementation detected - routing to smaller model"
"""The log line that operators look for."""

_MAX_PROSE = 4000
"""Characters of the query that are read, half from each end: people put the instruction before or after what they
paste, and a pasted file says `build`, `code` and `plan` without meaning it."""

_REMINDER = re.compile(r"<system-reminder>.*?(?:</system-reminder>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[.,;:!?\n()]")

_PLAN = frozenset(("plan", "plans", "planned", "planning", "replan", "replanning"))
_PLAN_NOUN = frozenset(("plan", "plans"))
_BUILD = {
    "implementation": "implementation", "implementations": "implementation",
    "implement": "implement", "implements": "implement", "implemented": "implement", "implementing": "implement",
    "build": "build", "builds": "build", "building": "build", "built": "build",
    "code": "code", "codes": "code", "coded": "code", "coding": "code",
    "develop": "develop", "develops": "develop", "developed": "develop", "developing": "develop",
    "development": "develop",
    "write": "write", "writes": "write", "writing": "write", "written": "write",
    "create": "create", "creates": "create", "created": "create", "creating": "create",
}  # fmt: skip
"""Each form of an implementation word → the word."""

_MAKES = frozenset(("create", "write", "build", "develop"))
"""Verbs that make the thing they name: `create a plan` asks for a plan. `implement the plan` asks for what it says."""

_BOUNDARY = frozenset(
    "to for of that which and or but then as per by with without from in into on onto at after before until so if when "
    "while where who whom how why what about via using following based according please now first next today "
    "is are was were be been should must can could will would this afternoon tomorrow together here".split()
)
_PASSIVE = frozenset(("be", "is", "was", "were", "are", "been", "being", "get", "gets"))
_NOUN_PHRASE = 5
"""Words that may stand between such a verb and `plan`: `create us a detailed quarterly product plan`."""

_THINK = re.compile(
    r"\b(?:(?:ultra|mega)think"
    r"|think(?:ing)?\s+(?:very\s+|really\s+|long\s+and\s+)?(?:hard|harder|deep|deeper|deeply|carefully|thoroughly|through)"
    r"|think\s+(?:it|this|that)\s+through"
    r"|step[\s-]+by[\s-]+step"
    r"|(?<!the )(?<!some )(?<!any )(?<!no )(?<!a )(?<!this )(?<!that )(?<!another )(?<!main )(?<!good )(?<!what )"
    r"reason(?!\s+(?:for|why|is|was|that)\b)"
    r"|reasoning)\b",
    re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True)
class ChatFacts:
    """What the scenarios look at in one request."""

    text: str = ""
    """The last user message's text."""
    image: bool = False
    """Any message of the request holds an image."""
    web_search: bool = False
    """A tool whose type or name is a web search."""
    tokens: int = 0
    """Of the whole prompt; an estimate will do."""
    thinking: bool = False
    """The request asks for extended thinking."""
    model: str | None = None
    """As requested."""


def classify(request: ChatFacts, configured: Collection[str], long_context_threshold: int = 60_000) -> tuple[str, str]:
    """The first scenario that fits and is configured, and why; `default` when none does.

    A scenario absent from `configured` is passed over, so plan_implementation falls to think, and think to default.
    """
    if "image" in configured and request.image:
        return "image", "the request holds an image"
    if "web_search" in configured and request.web_search:
        return "web_search", "the request brings a web search tool"
    if "long_context" in configured and request.tokens >= long_context_threshold:
        return "long_context", f"about {request.tokens:,} tokens, at least {long_context_threshold:,}"
    query = prose(request.text)
    words = _words(query)
    if "plan_implementation" in configured and (reason := _plan_implementation(words)):
        return "plan_implementation", reason
    if "think" in configured and (reason := _think(query, words, request.thinking)):
        return "think", reason
    if "background" in configured and request.model and "haiku" in request.model.lower():
        return "background", f"a haiku-class model was asked for: {request.model}"
    return "default", "no other scenario fits"


def is_web_search(name: str) -> bool:
    """Whether a tool's type or name is a web search: `web_search_20250305`, `web_search_preview`, `WebSearch`."""
    return name.lower().replace("_", "").replace("-", "").startswith("websearch")


def prose(text: str) -> str:
    """A user text without system reminders and fenced code, its middle left out where it is very long."""
    text = _FENCE.sub(" ", _REMINDER.sub(" ", text))
    if len(text) <= _MAX_PROSE:
        return text
    return text[: _MAX_PROSE // 2] + "\n" + text[-_MAX_PROSE // 2 :]


def _words(text: str) -> list[str]:
    """Lower-case words and the punctuation that ends a phrase."""
    return [match[0] for match in _TOKEN.finditer(text.lower())]


def _plan_implementation(words: list[str]) -> str | None:
    plan = next((word for word in words if word in _PLAN), None)
    if plan is None:
        return None
    for at, word in enumerate(words):
        if word in _BUILD and not _makes_a_plan(words, at):
            return f"'{plan}' and '{word}': planning in order to build"
    return None


def _makes_a_plan(words: list[str], at: int) -> bool:
    """Whether what the verb at `at` makes is a plan: `create a strategic plan`, `the plan must be written`."""
    if _BUILD[words[at]] not in _MAKES:
        return False
    for ahead in range(at + 1, min(at + 2 + _NOUN_PHRASE, len(words))):
        word = words[ahead]
        if word in _PLAN_NOUN and _ends_phrase(words, ahead):
            return True
        if _stops(word) or (word in _BUILD and word != "implementation"):
            break
    passive = at >= 2 and words[at - 1] in _PASSIVE
    return passive and any(word in _PLAN_NOUN for word in words[max(0, at - 5) : at])


def _ends_phrase(words: list[str], at: int) -> bool:
    """`a plan for …` ends in the plan; in `a plan view component` the plan only describes what follows."""
    return at + 1 == len(words) or _stops(words[at + 1])


def _stops(word: str) -> bool:
    return word in _BOUNDARY or not word[0].isalnum()


def _think(query: str, words: list[str], thinking: bool) -> str | None:
    if thinking:
        return "the request asks for thinking"
    plan = next((word for word in words if word in _PLAN), None)
    if plan:
        return f"'{plan}' without anything to build"
    found = _THINK.search(query)
    return f"'{' '.join(found[0].lower().split())}'" if found else None
