"""Patterns that may not go out to a provider, or come back from one: blocked, or cut out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from harness.config.gateway_section import FilterSettings
from harness.config.targets import WireName
from harness.errors import ConfigError, UnknownName
from harness.gateway.exchange import Asked
from harness.gateway.refusal import Refusal
from harness.gateway.translate.neutral import Delta, Event, Prompt
from harness.gateway.translate.stream_out import WRITERS
from harness.redact import redact

MASK = "[filtered]"
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")


def _cards(text: str) -> str:
    """Card numbers are told from other long numbers by their check digit (ISO/IEC 7812)."""

    def mask(match: re.Match[str]) -> str:
        digits = [int(c) for c in match[0] if c.isdigit()][::-1]
        total = sum(d if n % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for n, d in enumerate(digits))
        return match[0] if total % 10 else MASK

    return _CARD.sub(mask, text)


def _pattern(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(MASK, text)


BUILT_IN: dict[str, Callable[[str], str]] = {
    "secrets": redact,
    "email": _pattern(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"),
    "phone": _pattern(r"(?<![\w.-])\+?\d{1,3}[ .-]?\(?\d{2,4}\)?[ .-]\d{3,4}[ .-]\d{3,4}(?![\w-])"),
    "credit_card": _cards,
    "ssn": _pattern(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
}


@dataclass(frozen=True)
class _Filter:
    name: str
    cut: Callable[[str], str]
    block: bool


class Filters:
    """Falsy for a direction that nothing filters. Raises UnknownName or ConfigError for what it cannot compile."""

    def __init__(self, rows: Sequence[FilterSettings]) -> None:
        made = [(row, _made(row, number)) for number, row in enumerate(rows)]
        self.request_filters = tuple(one for row, one in made if row.direction in ("request", "both"))
        self.response_filters = tuple(one for row, one in made if row.direction in ("response", "both"))

    def request(self, asked: Asked) -> Asked:
        """The request, with what must not go out cut out; raises Refusal where it is to be blocked."""
        if not self.request_filters:
            return asked
        body = {name: value if name == "model" else _walked(value, self.request_filters, "request", name)
                for name, value in asked.body.items()}  # fmt: skip
        return asked if body == asked.body else replace(asked, body=body, raw=orjson.dumps(body))

    def reply(self, body: bytes) -> bytes:
        """A whole JSON answer, filtered; raises Refusal."""
        if not self.response_filters:
            return body
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        cut = _walked(data, self.response_filters, "answer", "")
        return body if cut == data else orjson.dumps(cut)

    def events(self, form: WireName, events: Sequence[Event], original: bytes) -> bytes:
        """A whole streamed answer, filtered: as it was when nothing is found, else written anew; raises Refusal."""
        texts: dict[int, str] = {}
        for event in events:
            if isinstance(event, Delta):
                texts[event.index] = texts.get(event.index, "") + event.text
        cut = {index: _walked(text, self.response_filters, "answer", "") for index, text in texts.items()}
        if cut == texts:
            return original
        writer, said, out = WRITERS[form](Prompt("", ())), set[int](), b""
        for event in events:
            if isinstance(event, Delta):
                text = "" if event.index in said else cut[event.index]
                said.add(event.index)
                event = replace(event, text=text)
            out += writer.write(event)
        return out


def _made(row: FilterSettings, number: int) -> _Filter:
    if row.pattern is None:
        if row.name not in BUILT_IN:
            raise UnknownName("built-in filter", row.name, BUILT_IN, "give it a `pattern` of its own")
        return _Filter(row.name, BUILT_IN[row.name], row.action == "block")
    try:
        return _Filter(row.name, _pattern(row.pattern), row.action == "block")
    except re.error as error:
        path = ("gateway", "filters", number, "pattern")
        raise ConfigError("harness.yaml", path, f"is no regular expression: {error}") from None


def _walked(value: Any, filters: Sequence[_Filter], what: str, path: str) -> Any:
    if isinstance(value, str):
        for one in filters:
            cut = one.cut(value)
            if cut != value and one.block:
                status, place = (400 if what == "request" else 502), f" ({path})" if path else ""
                told = f"filter '{one.name}' does not let this {what} pass{place}"
                raise Refusal(status, told, param=path or None, code="filtered")
            value = cut
        return value
    if isinstance(value, dict):
        return {name: _walked(item, filters, what, f"{path}.{name}" if path else name) for name, item in value.items()}
    if isinstance(value, list):
        return [_walked(item, filters, what, f"{path}.{number}") for number, item in enumerate(value)]
    return value
