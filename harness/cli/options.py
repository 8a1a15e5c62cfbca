"""Options that every command has, and the repository they name; standard library only, for commands that start fast."""

from __future__ import annotations

import argparse
from pathlib import Path


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
    """The nearest folder upwards that holds `.git`, else `start` itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / ".git").exists():
            return folder
    return start
