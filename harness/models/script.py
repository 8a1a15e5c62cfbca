"""A file of replies that stands in for a model: which reply fits which call. Shared by the scripted client and the
scripted HTTP server of the tests, so that both answer alike.

    replies:
      - when: {phase: plan, issue: demo-3}          # first entry that fits answers; every key must hold
        json: {summary: Add a cache, tasks: [{id: t1, title: …}]}

      - when: {phase: execute, task: t1, attempt: 1}
        turns:                                      # turn n of the session gets the nth reply; past the end: no fit
          - text: I look first.
            tools: [{name: bash, input: {command: cat a.py}}, {name: read, input: {path: b.py}}]
          - tools: [{name: finish, input: {summary: Done.}}]

      - when: {phase: execute, task: t1, attempt: 2+, after_feedback: AssertionError}
        text: …
        usage: {input: 900, cache_read: 12000, cache_write_5m: 0, cache_write_1h: 0, output: 300}
        seconds: 0.5

      - when: {phase: review, turn: 1}
        error: {kind: unavailable, retry_after: 2}
        times: 1                                    # only the first call with these facts; the next one looks further

`when` (all optional; `when: {}` fits everything)
    phase, issue, task, tier, model   a glob, or a list of globs: `task: t*`, `tier: [sonnet, opus]`, `model: openai/*`
    attempt, turn                     a number, a list of numbers, or `2+`
    last                              text after the model's last turn, tool results included (a list: all of them)
    prompt                            text anywhere in the prompt, system included
    after_feedback                    text in what the user side wrote, without system and tool results
    offers                            glob of a tool the call offers

A reply is any of `text`, `thinking`, `tools` (name, input, optional id) and `json` (a structured answer), or else an
`error`.
    error.kind   unavailable (529), rate_limited (429), server (500), timeout, dies (the stream breaks off),
                 stream_error (an error event in mid-stream), auth (401), bad_request (400), not_found (404),
                 nonsense (an answer nobody can read)
    error        also `message`, and `retry_after` in seconds
    stop         `max_tokens` or `refusal`; otherwise it follows from the reply
    seconds      how long the reply takes; `defaults: {seconds: 0.1}` beside `replies` sets it for all
    usage        token counts; without it they are estimated at four characters a token, and cache reads and writes
                 follow the published caching rules (see `prompt_cache`)

Matching looks at the call alone, never at what was asked before (`times` counts calls with equal facts), so the order
of parallel tasks and a resumed run change nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.config.reading import read_mapping, validate
from harness.types import Value

Globs = str | tuple[str, ...]
Numbers = int | str | tuple[int, ...]
ErrorKind = Literal[
    "unavailable",
    "rate_limited",
    "server",
    "timeout",
    "dies",
    "stream_error",
    "auth",
    "bad_request",
    "not_found",
    "nonsense",
]


class Facts(Value):
    """What a script may look at in a call; None where it is not known."""

    phase: str | None = None
    issue: str | None = None
    task: str | None = None
    tier: str | None = None
    model: str | None = None
    attempt: int | None = None
    turn: int = 1
    last: str = ""
    prompt: str = ""
    said: str = ""
    """Text of user messages, without tool results."""
    offers: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = ("phase", "issue", "task", "attempt", "turn")
        told = ", ".join(f"{name} {getattr(self, name)}" for name in known if getattr(self, name) is not None)
        return f"{told} (tier {self.tier or 'unknown'})"


class When(Value):
    """The conditions of one entry; all that are given must hold."""

    phase: Globs | None = None
    issue: Globs | None = None
    task: Globs | None = None
    tier: Globs | None = None
    model: Globs | None = None
    attempt: Numbers | None = None
    turn: Numbers | None = None
    last: Globs | None = None
    prompt: Globs | None = None
    after_feedback: Globs | None = None
    offers: Globs | None = None

    @model_validator(mode="after")
    def _numbers_are_readable(self) -> When:
        for name in ("attempt", "turn"):
            value = getattr(self, name)
            if isinstance(value, str) and not re.fullmatch(r"\d+\+?", value):
                raise ValueError(f"{name} is a number, a list of numbers, or '2+'")
        return self

    def fits(self, facts: Facts) -> bool:
        globs = ("phase", "issue", "task", "tier", "model")
        texts = ((self.last, facts.last), (self.prompt, facts.prompt), (self.after_feedback, facts.said))
        return (
            all(_globbed(getattr(self, name), getattr(facts, name)) for name in globs)
            and _counted(self.attempt, facts.attempt)
            and _counted(self.turn, facts.turn)
            and all(part in text for wanted, text in texts for part in _listed(wanted))
            and (self.offers is None or any(_globbed(self.offers, name) for name in facts.offers))
        )


class ScriptedTool(Value):
    name: str
    input: dict[str, Any] = {}
    id: str | None = None


class ScriptedUsage(Value):
    input: int = Field(0, ge=0)
    output: int = Field(0, ge=0)
    cache_read: int = Field(0, ge=0)
    cache_write_5m: int = Field(0, ge=0)
    cache_write_1h: int = Field(0, ge=0)


class ScriptedError(Value):
    kind: ErrorKind
    message: str = ""
    retry_after: float | None = Field(None, ge=0)


class Said(BaseModel):
    """What a stand-in can say."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    text: str | None = None
    thinking: str | None = None
    tools: tuple[ScriptedTool, ...] = ()
    answer: Any = Field(None, alias="json")
    error: ScriptedError | None = None
    stop: Literal["max_tokens", "refusal"] | None = None
    usage: ScriptedUsage | None = None
    seconds: float | None = Field(None, ge=0)

    def require_an_answer(self) -> None:
        parts = self.text is not None or self.thinking is not None or self.tools or self.answer is not None
        if bool(parts) == (self.error is not None):
            raise ValueError("a reply is text, thinking, tools or json, or else one error")


class Reply(Said):
    """What it says at one turn."""

    @model_validator(mode="after")
    def _says_something(self) -> Reply:
        self.require_an_answer()
        return self


class Entry(Said):
    """Conditions, and the reply or the replies by turn."""

    when: When = When()
    turns: tuple[Reply, ...] = ()
    times: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_something(self) -> Entry:
        if not self.turns:
            self.require_an_answer()
        elif own := sorted(self.model_fields_set - {"when", "turns", "times"}):
            raise ValueError(f"`{own[0]}` stands beside `turns`; put it into one of the turns")
        return self

    def at(self, turn: int) -> Said | None:
        """The reply for a turn, or None past the end."""
        if not self.turns:
            return self
        return self.turns[turn - 1] if turn <= len(self.turns) else None


class Defaults(Value):
    seconds: float = Field(0.0, ge=0)


class Script(Value):
    """All entries of one file, in order."""

    replies: tuple[Entry, ...]
    defaults: Defaults = Defaults()
    description: str = ""
    source: str = "script"

    def find(self, facts: Facts, seen: Counter[tuple[int, Facts]] | None = None) -> Said | None:
        """The first reply that fits; `seen` carries what `times` counts from one call to the next."""
        for number, entry in enumerate(self.replies):
            if not entry.when.fits(facts):
                continue
            reply = entry.at(facts.turn)
            if reply is None:
                continue
            if entry.times is not None and seen is not None:
                key = (number, facts)
                if seen[key] >= entry.times:
                    continue
                seen[key] += 1
            return reply
        return None

    def missing(self, facts: Facts) -> str:
        """The sentence for a call that no entry fits."""
        return f"script {self.source} has no reply for {facts}"


def read_script(path: Path) -> Script:
    """The script in a YAML file; raises ConfigError naming file, entry and cure."""
    return script_of(read_mapping(path), str(path))


def script_of(data: dict[str, Any], source: str = "script") -> Script:
    """A script from plain data; raises ConfigError."""
    script: Script = validate(Script, data, source)
    return script.model_copy(update={"source": source})


def _listed(wanted: Globs | None) -> tuple[str, ...]:
    return () if wanted is None else (wanted,) if isinstance(wanted, str) else wanted


def _globbed(wanted: Globs | None, value: str | None) -> bool:
    return wanted is None or (value is not None and any(fnmatchcase(value, glob) for glob in _listed(wanted)))


def _counted(wanted: Numbers | None, value: int | None) -> bool:
    if wanted is None:
        return True
    if value is None:
        return False
    if isinstance(wanted, tuple):
        return value in wanted
    if isinstance(wanted, str) and wanted.endswith("+"):
        return value >= int(wanted[:-1])
    return value == int(wanted)
