"""Options that every command has, and the repository they name; standard library only, for commands that start fast."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from pathlib import Path

from harness.errors import HarnessError

_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def common_options(parser: argparse.ArgumentParser) -> None:
    """`--repo`, `--config`, `--json`: every command has them."""
    parser.add_argument("-C", "--repo", type=Path, default=Path("."), metavar="DIR", help="the repository (default: .)")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="settings (default: harness.yaml in the repository)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on standard output, all else on standard error"
    )


def repository_root(start: Path) -> Path:
    """The nearest folder upwards that holds `.git`, else `start` itself; raises HarnessError where no folder is."""
    start = start.resolve()
    if not start.is_dir():
        what = "is a file" if start.exists() else "there is no such folder"
        raise HarnessError(f"{start}: {what}", "--repo takes the repository's folder")
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder
    return start


def since(text: str) -> int:
    """`30d`, `12h`, `4w` or a date as Unix seconds, for `type=` of an option; argparse tells a bad one."""
    try:
        if text[-1:] in _SECONDS:
            return int(time.time() - float(text[:-1]) * _SECONDS[text[-1]])
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no period: write 30d, 12h, 4w or 2026-11-01") from None
