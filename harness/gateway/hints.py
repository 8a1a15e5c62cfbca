"""Hints that a translated request carries and its model does not know: left out, and not sent to that model again.

A client says how hard to think or how long an answer may be; formats have a field for it, yet not every model behind
them takes it, and the refusal is a 400 that no other wording of the prompt would avoid. No table of models says who
takes what, so the provider's own refusal does. What changes the answer's meaning (a schema, a temperature, stop words)
is no hint: there the refusal is the client's to see.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import orjson

from harness.config.targets import WireName

KEPT = 1_000
"""Models whose refusals are remembered: wildcards let clients invent names."""
_HINTS: dict[WireName, dict[str, re.Pattern[bytes]]] = {
    "messages": {"output_config.effort": re.compile(rb"\beffort\b")},
    "chat": {
        "reasoning_effort": re.compile(rb"\breasoning[_ ]effort\b"),
        "parallel_tool_calls": re.compile(rb"\bparallel_tool_calls\b"),
        "stream_options": re.compile(rb"\bstream_options\b"),
        "user": re.compile(rb'"user"'),
        "max_completion_tokens": re.compile(rb"\bmax_(?:completion_)?tokens\b"),
        "max_tokens": re.compile(rb"\bmax_tokens\b"),
    },
    "responses": {
        "reasoning": re.compile(rb"\breasoning\b"),
        "parallel_tool_calls": re.compile(rb"\bparallel_tool_calls\b"),
        "safety_identifier": re.compile(rb"\bsafety_identifier\b"),
        "max_output_tokens": re.compile(rb"\bmax_output_tokens\b"),
    },
}
"""Field → how a provider's error names it."""
_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_OLDER = "max_completion_tokens → max_tokens"
_TOO_LARGE = re.compile(rb"too large|too high|at most|maximum|exceed|less than", re.IGNORECASE)


class Hints:
    """What each model has refused so far."""

    def __init__(self) -> None:
        self._refused: OrderedDict[str, dict[str, int]] = OrderedDict()
        """Model → hint → the smallest bound refused; 0 for what is no bound."""

    def known(self, model: str, request: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The request without what this model has refused before, and the names of what was left out."""
        left_out: tuple[str, ...] = ()
        for name, least in self._refused.get(model, {}).items():
            changed = _without(name, request, least)
            if changed is not None:
                request, left_out = changed[0], (*left_out, name)
        return request, left_out

    def refused(self, model: str, form: WireName, request: bytes, error: bytes) -> tuple[bytes, str] | None:
        """The request without the hint that this error is about, and the hint's name; None when it is about none.

        A bound on the answer's length that is unknown is said by its older name; one that is larger than the model's
        own gives way to that.
        """
        too_large = _TOO_LARGE.search(error) is not None
        for name, told in _HINTS[form].items():
            if told.search(error) is None:
                continue
            if name in _BOUNDS and not too_large:
                if name != "max_completion_tokens":
                    continue
                name = _OLDER
            changed = _without(name, request)
            if changed is not None:
                self._remember(model, name, changed[1] if name in _BOUNDS else 0)
                return changed[0], name
        return None

    def _remember(self, model: str, name: str, bound: int) -> None:
        known = self._refused.setdefault(model, {})
        known[name] = min(bound, known.get(name, bound))
        self._refused.move_to_end(model)
        while len(self._refused) > KEPT:
            self._refused.popitem(last=False)


def _without(name: str, request: bytes, least: int = 0) -> tuple[bytes, int] | None:
    """The request without a field, and the bound that it was; None when it has none such, or a smaller bound."""
    body = orjson.loads(request)
    field, renamed, new = name.partition(" → ")
    outer, dotted, inner = field.partition(".")
    holder = body.get(outer) if dotted else body
    key = inner or outer
    if not isinstance(holder, dict) or key not in holder or (least and holder[key] < least):
        return None
    value = holder.pop(key)
    if dotted and not holder:
        del body[outer]
    if renamed:
        body[new] = value
    return orjson.dumps(body), value if isinstance(value, int) else 0
