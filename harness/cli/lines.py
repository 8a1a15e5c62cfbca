"""What a long-running command tells on standard error: lines for people, or with `--log-json` one JSON object a line.

Every JSON line has `at`, `level`, `event`, `run`, `issue`, `phase` and `task` (null where there is none), and with
traces `trace_id` and `span_id`; what else there is to an event stands beside them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from harness.cli.common import jsonable, say, saying
from harness.cli.wording import plain_line
from harness.protocols import Emit
from harness.redact import redact, redact_json
from harness.spans import place
from harness.types import Event

NAMES = ("run", "issue", "phase", "task")


def log_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-json", action="store_true", help="structured lines on standard error, one an event")


@contextmanager
def lines(as_json: bool) -> Iterator[Emit]:
    """A listener that writes events; inside, all else that is said or logged takes the same form."""
    if not as_json:
        yield people
        return
    handler, root = _JsonHandler(), logging.getLogger()
    root.addHandler(handler)
    try:
        with saying(lambda text: _put("info", "said", {"message": text})):
            yield machines
    finally:
        root.removeHandler(handler)


def people(event: Event) -> None:
    """A short line for each event that matters to a person."""
    line = plain_line(event)
    if line:
        say(f"{event.at.astimezone():%H:%M:%S}  {redact(line)}")


def machines(event: Event) -> None:
    """Every event as JSON."""
    names = {"run": event.run_id, "issue": event.issue_id, "phase": event.phase, "task": event.task_id}
    level = "error" if event.data.get("status") == "failed" else "info"
    _put(level, event.kind, event.data, names, event.at)


class _JsonHandler(logging.Handler):
    """Warnings and errors of ours and of libraries, with the names of what is being worked on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, Any] = {"message": record.getMessage(), "logger": record.name}
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        _put(record.levelname.lower(), "log", facts)


def _put(
    level: str,
    event: str,
    facts: dict[str, Any],
    names: dict[str, str | None] | None = None,
    at: datetime | None = None,
) -> None:
    here = place()
    line = {
        "at": (at or datetime.now(UTC)).isoformat(),
        "level": level,
        "event": event,
        **(names or {name: here.get(name) for name in NAMES}),
        **{name: here[name] for name in ("trace_id", "span_id") if name in here},
    }
    # The names win: no fact of an event may stand for another run or task.
    whole = {**line, **{key: value for key, value in facts.items() if key not in line}}
    print(json.dumps(redact_json(jsonable(whole)), ensure_ascii=False), file=sys.stderr, flush=True)
