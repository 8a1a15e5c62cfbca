"""Options that every command has, and the repository they name; standard library only, for commands that start fast."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from harness.errors import HarnessError

_MOST_DOLLARS = 1_000_000_000
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
            return max(0, int(time.time() - float(text[:-1]) * _SECONDS[text[-1]]))
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"'{text}' is no period: write 30d, 12h, 4w or 2026-11-01") from None


def count(text: str) -> int:
    """A whole number from 1 up, for `type=` of an option."""
    return _between(text, 1, 1_000_000_000)


def port(text: str) -> int:
    """A TCP port, 0 for a free one, for `type=` of an option."""
    return _between(text, 0, 65_535)


def dollars(text: str) -> Decimal:
    """`2.50`, or `$2.50`, for `type=` of an option."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _MOST_DOLLARS:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of dollars: write e.g. 2.50")
    return amount


def _between(text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} to {most}")
    return number
