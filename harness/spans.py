"""Where in the work we are: spans for traces, and the names that each log line carries.

    run (invoke_workflow) → phase → task → attempt (invoke_agent) → model call (chat), tool (execute_tool), verify

`Spans` itself records nothing; `harness.telemetry`, loaded when tracing is configured, records with OpenTelemetry. The
innermost span and its names travel in a context variable, so that whoever is called inside need not be handed them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal

Attribute = str | bool | int | float | Sequence[str]
Kind = Literal["internal", "client"]

RUN, ISSUE, TASK, PHASE = "harness.run.id", "harness.issue.id", "harness.task.id", "harness.phase"
_SHORT = {RUN: "run", ISSUE: "issue", TASK: "task", PHASE: "phase"}


class Span:
    """One piece of work under way; this one is told everything and keeps nothing."""

    ids: Mapping[str, str] = {}
    """`trace_id` and `span_id` where it is recorded: by them a log line is found from its trace."""

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Add attributes; those that are None are left out."""

    def event(self, name: str, attributes: Mapping[str, Attribute | None]) -> None:
        """Something that happened in it, now."""

    def fail(self, kind: str, message: str = "") -> None:
        """It did not succeed. `kind` is one of few words; `message` may hold content and is kept where that is."""

    def end(self) -> None:
        """It is over; only for spans of `begin`."""


class Spans:
    """Makes spans that nobody records."""

    recording = False
    content = False
    """Whether prompts, answers and messages of errors may be recorded."""
    propagate = False
    """Whether model calls carry `traceparent`."""

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Attribute | None],
        kind: Kind = "internal",
        parent: Mapping[str, str] | None = None,
    ) -> Iterator[Span]:
        """A span around what happens inside, which fails when that raises. `parent` is another process's `carrier`."""
        span = self.begin(name, attributes, kind, parent)
        here = {short: str(attributes[key]) for key, short in _SHORT.items() if attributes.get(key) is not None}
        place, current = _place.set({**_place.get(), **here}), _current.set(span)
        try:
            with self._inside(span):
                yield span
        except BaseException as error:
            span.fail(type(error).__name__, str(error))
            raise
        finally:
            _current.reset(current)
            _place.reset(place)
            span.end()

    def begin(
        self,
        name: str,
        attributes: Mapping[str, Attribute | None],
        kind: Kind = "internal",
        parent: Mapping[str, str] | None = None,
    ) -> Span:
        """A span that its maker ends, in whichever task."""
        return Span()

    def carrier(self) -> dict[str, str]:
        """What another process needs to put its spans below the innermost one of here: W3C trace context."""
        return {}

    def close(self) -> None:
        """Send what is waiting; blocks for some seconds at most."""

    def _inside(self, span: Span) -> AbstractContextManager[object]:
        return nullcontext()


_place: ContextVar[Mapping[str, str]] = ContextVar("place", default={})  # noqa: B039 - replaced, never changed
_current: ContextVar[Span] = ContextVar("current", default=Span())  # noqa: B039 - has no state


def place() -> Mapping[str, str]:
    """Names of what is being worked on here: `run`, `issue`, `phase`, `task`, as far as known, and the span's ids."""
    return {**_place.get(), **_current.get().ids}


def happened(name: str, attributes: Mapping[str, Attribute | None]) -> None:
    """Something happened in whatever is under way here."""
    _current.get().event(name, attributes)
