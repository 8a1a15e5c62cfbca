"""Options and output that several commands share. The only module, with its siblings, that prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel

from harness.cli.options import common_options as common_options
from harness.cli.options import repository_root as repository_root
from harness.config.settings import Settings, load_settings
from harness.strangers import visible


def settings_from(arguments: argparse.Namespace, **overrides: Any) -> Settings:
    """The repository's settings with command-line values on top."""
    return load_settings(repository_root(arguments.repo), arguments.config, overrides)


def put_json(value: Any) -> None:
    """The one JSON document of a `--json` command."""
    print(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


def jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def say(*lines: object) -> None:
    """For the person watching: standard error, so that standard output stays the answer."""
    for line in lines:
        _sink.get()(visible(str(line)))


@contextmanager
def saying(sink: Callable[[str], None]) -> Iterator[None]:
    """Inside, what is said goes to `sink`, line by line."""
    before = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(before)


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr)


_sink: ContextVar[Callable[[str], None]] = ContextVar("sink", default=_to_standard_error)


def show(*lines: object) -> None:
    """The command's answer, for people."""
    for line in lines:
        print(visible(str(line)))
