"""Options and output that several commands share. The only module, with its siblings, that prints."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.config.settings import Settings, load_settings


def common_options(parser: argparse.ArgumentParser) -> None:
    """`--repo`, `--config`, `--json`: every command has them."""
    parser.add_argument("-C", "--repo", type=Path, default=Path("."), metavar="DIR", help="the repository (default: .)")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="settings (default: harness.yaml in the repository)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on standard output, all else on standard error"
    )


def settings_from(arguments: argparse.Namespace, **overrides: Any) -> Settings:
    """The repository's settings with command-line values on top."""
    return load_settings(repository_root(arguments.repo), arguments.config, overrides)


def repository_root(start: Path) -> Path:
    """The nearest folder upwards that holds `.git`, else `start` itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder
    return start


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
        print(line, file=sys.stderr)


def show(*lines: object) -> None:
    """The command's answer, for people."""
    for line in lines:
        print(line)
