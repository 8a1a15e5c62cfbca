"""A phase's trigger: `label:security OR (files>=4 AND NOT type:docs)` → whether it holds.

label:x  type:x  complexity:x     the issue carries it
priority<=1  files>=4  cost>0.5   compared with < <= > >= = !=; 0 is the most urgent priority, cost is USD so far
touches:src/auth/**               a changed file matches, as in .gitignore: `*` stays within a folder, `**` does
                                  not, a folder means all below it, a name without `/` is found in any folder
pattern:"race condition"          a regular expression found in title or body, whatever the case
escalated                         a stronger tier had to be asked
"…" or '…'                        around a value with spaces or parentheses in it
AND OR NOT ( )                    NOT binds tightest, then AND, then OR; lower case will do
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple, NoReturn, TypeAlias

from harness.errors import ConfigError, did_you_mean

TEXTS = ("label", "type", "complexity", "touches", "pattern")
NUMBERS = ("priority", "files", "cost")
FLAGS = ("escalated",)
KNOWN = (*TEXTS, *NUMBERS, *FLAGS)

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "==": operator.eq,
    "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\W\d]\w*")
_OPERATOR = re.compile(r":|<=|>=|!=|==|<|>|=")
_QUOTED = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, re.DOTALL | re.VERBOSE)
_BARE = re.compile(r"""[^\s()"]+""")
_NUMBER = re.compile(r"\$?(\d+(?:\.\d+)?)(?![\w.])")
_JOINERS = ("AND", "OR", "NOT")
_FOREIGN = {"label": "&|,;", "type": "&|,;", "complexity": "&|,;", "touches": "{}&|,;"}
"""Marks that join values in other languages: taken as part of a bare one, they make a condition that never holds."""
_MAX_DEPTH = 50


class Facts(NamedTuple):
    """What a trigger may ask about an issue and the work on it so far."""

    labels: tuple[str, ...] = ()
    type: str = "task"
    priority: int = 2
    title: str = ""
    body: str = ""
    files: tuple[str, ...] = ()
    """Changed paths, or those the issue names before anything is changed."""
    escalated: bool = False
    cost: Decimal | float = 0
    """USD."""


class Condition(NamedTuple):
    """One question: `label:security`."""

    name: str
    sign: str = ""
    value: str = ""

    def holds(self, facts: Facts) -> bool:
        if self.name in NUMBERS:
            return _COMPARE[self.sign](_number(self.name, facts), Decimal(self.value))
        wanted = self.value.casefold()
        match self.name:
            case "label":
                return any(_tidy(label) == _tidy(wanted) for label in facts.labels)
            case "complexity":
                return any(_tidy(label) == f"complexity:{wanted}" for label in facts.labels)
            case "type":
                return facts.type.casefold() == wanted
            case "touches":
                return any(glob(self.value).fullmatch(path) for path in facts.files)
            case "pattern":
                return bool(regex(self.value).search(facts.title) or regex(self.value).search(facts.body))
            case _:
                return facts.escalated

    def _quoted(self) -> bool:
        foreign = any(mark in self.value for mark in _FOREIGN.get(self.name, ""))
        return foreign or self.value.startswith("'") or (self.name == "touches" and self.value.startswith("!"))

    def __str__(self) -> str:
        plain = _BARE.fullmatch(self.value) and self.value.upper() not in _JOINERS and not self._quoted()
        value = self.value if plain or not self.sign else '"' + self.value.replace('"', '\\"') + '"'
        return f"{self.name}{self.sign}{value}"


class Not(NamedTuple):
    part: Node

    def holds(self, facts: Facts) -> bool:
        return not self.part.holds(facts)

    def __str__(self) -> str:
        return f"NOT {_nested(self.part, (AllOf, AnyOf))}"


@dataclass(frozen=True)
class AllOf:
    parts: tuple[Node, ...]

    def holds(self, facts: Facts) -> bool:
        return all(part.holds(facts) for part in self.parts)

    def __str__(self) -> str:
        return " AND ".join(_nested(part, (AllOf, AnyOf)) for part in self.parts)


@dataclass(frozen=True)
class AnyOf:
    parts: tuple[Node, ...]

    def holds(self, facts: Facts) -> bool:
        return any(part.holds(facts) for part in self.parts)

    def __str__(self) -> str:
        return " OR ".join(_nested(part, (AnyOf,)) for part in self.parts)


Node: TypeAlias = Condition | Not | AllOf | AnyOf


class Trigger(NamedTuple):
    """A parsed trigger; its text is printed in one canonical form."""

    root: Node

    def holds(self, facts: Facts) -> bool:
        return self.root.holds(facts)

    def explain(self, facts: Facts) -> str:
        """Every condition with its answer: `label:security no, complexity:complex yes`."""
        return ", ".join(f"{one} {'yes' if one.holds(facts) else 'no'}" for one in conditions(self.root))

    def __str__(self) -> str:
        return str(self.root)


def parse(text: str, where: str = "trigger", path: Iterable[str | int] = ()) -> Trigger:
    """The trigger a text stands for.

    Raises ConfigError naming `where`, `path` and the column, counted from 1 at the beginning of `text`:
    `pipelines/std.yaml: phases > 3_review > trigger, column 16: expected AND or OR, got 'complexity'`.
    """
    parser = _Parser(text, where, tuple(path))
    root = parser.either(0)
    if not parser.at_end():
        parser.fail("expected AND or OR")
    return Trigger(root)


def conditions(node: Node) -> list[Condition]:
    """The conditions below a node, from left to right."""
    if isinstance(node, Condition):
        return [node]
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return [condition for part in parts for condition in conditions(part)]


@cache
def glob(pattern: str) -> re.Pattern[str]:
    """A path glob as a regular expression for `fullmatch`, with the rules of .gitignore (without negation)."""
    pattern = pattern.rstrip("/")
    out, at = "" if "/" in pattern else "(?:[^/]+/)*", 0
    pattern = pattern.removeprefix("/")
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:[^/]+/)*", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif pattern[at] in "*?":
            out, at = out + ("[^/]*" if pattern[at] == "*" else "[^/]"), at + 1
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return re.compile(out + "(?:/.*)?", re.DOTALL)


@cache
def regex(pattern: str) -> re.Pattern[str]:
    """A user's regular expression, compiled once; raises re.error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `[[a]` means what it means today
        return re.compile(pattern, re.IGNORECASE)


@dataclass
class _Parser:
    """Recursive descent; `at` is where it stands, always behind white space."""

    text: str
    where: str
    path: tuple[str | int, ...]
    at: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._skip()

    def either(self, depth: int) -> Node:
        return self._joined("OR", AnyOf, lambda: self._joined("AND", AllOf, lambda: self._one(depth)))

    def at_end(self) -> bool:
        return self.at == len(self.text)

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        """Raise for what stands here (or at another place)."""
        at = self.at if at is None else at
        word = _NAME.match(self.text, at) or _BARE.match(self.text, at)
        got = "the end" if at >= len(self.text) else repr(word[0] if word else self.text[at])
        self._raise(f"{problem}, got {got:.60}", at)

    def _joined(self, word: str, kind: type[AllOf | AnyOf], part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._take_word(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _one(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            self._raise(f"more than {_MAX_DEPTH} nested NOT and parentheses", self.at)
        if self._take_word("NOT"):
            return Not(self._one(depth + 1))
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                self.fail("expected AND, OR or ')'")
            return inner
        return self._condition()

    def _condition(self) -> Condition:
        start, name = self.at, self._match(_NAME)
        if name is None or name[0].upper() in _JOINERS:
            self.fail("expected a condition such as label:security", start)
        word = name[0].lower()
        if word not in KNOWN:
            self._raise(f"unknown condition '{name[0]}'; known: {', '.join(KNOWN)}{did_you_mean(word, KNOWN)}", start)
        if word in FLAGS:
            return Condition(word)
        sign = self._match(_OPERATOR)
        if word in NUMBERS:
            if sign is None or sign[0] not in _COMPARE:
                self.fail(f"expected a comparison such as {word}>=1", sign.start() if sign else None)
            number = self._match(_NUMBER)
            if number is None:
                self.fail("expected a number")
            return Condition(word, "=" if sign[0] == "==" else sign[0], number[1])
        if sign is None or sign[0] != ":":
            self.fail(f"expected ':' as in {word}:x", sign.start() if sign else None)
        return Condition(word, ":", self._value(word))

    def _value(self, name: str) -> str:
        start = self.at
        quoted = self._match(_QUOTED)
        if self.text.startswith(('"', "'"), start) and not quoted:
            self._raise("this quotation mark is never closed", start)
        bare = None if quoted else self._match(_BARE)
        value = _unquoted(quoted) if quoted else bare[0] if bare else ""
        if not value or (bare and value.upper() in _JOINERS):
            self.fail(f"expected a value after {name}:", start)
        if bare:
            self._refuse_foreign(name, value, start)
        if name == "pattern":
            try:
                regex(value)
            except (re.error, OverflowError, RecursionError) as error:
                self._raise(f"is no regular expression: {error}", start)
        return value

    def _refuse_foreign(self, name: str, value: str, start: int) -> None:
        at = next((at for at, mark in enumerate(value) if mark in _FOREIGN.get(name, "")), None)
        if at is not None:
            self._raise(
                f"'{value[at]}' joins nothing here; write AND or OR, or {name}:\"…\" if it belongs there", start + at
            )
        if name == "touches" and value.startswith("!"):
            self._raise("write NOT touches:… for paths that are not to match", start)

    def _match(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        found = wanted.match(self.text, self.at)
        if found:
            self.at = found.end()
            self._skip()
        return found

    def _take(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        self._skip()
        return True

    def _take_word(self, word: str) -> bool:
        found = _NAME.match(self.text, self.at)
        return found is not None and found[0].upper() == word and self._take(found[0])

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _raise(self, problem: str, at: int) -> NoReturn:
        *outer, last = self.path or ("",)
        trail = (*outer, f"{last}, column {at + 1}" if last else f"column {at + 1}")
        raise ConfigError(self.where, trail, problem)


def _unquoted(match: re.Match[str]) -> str:
    """What stands between the marks; only the mark itself is escaped, all else is left to regular expressions."""
    mark, inner = match[0][0], match[0][1:-1]
    return inner.replace("\\" + mark, mark)


def _number(name: str, facts: Facts) -> Decimal:
    value = {"priority": facts.priority, "files": len(facts.files), "cost": facts.cost}[name]
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _tidy(label: str) -> str:
    """A label as routing reads it: `Complexity: Complex ` is `complexity:complex`."""
    name, colon, value = label.casefold().partition(":")
    return f"{name.strip()}{colon}{value.strip()}"


def _nested(node: Node, looser: tuple[type, ...]) -> str:
    return f"({node})" if isinstance(node, looser) else str(node)
