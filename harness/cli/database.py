"""`--database`: which PostgreSQL; and a warning to who writes its password where the whole machine can read it."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

from pydantic import SecretStr

from harness.cli.common import say
from harness.redact import register

VARIABLE = "HARNESS_DATABASE_URL"


def database_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        type=_url,
        metavar="URL",
        help=f"PostgreSQL for backend dbos, without its password (default: ${VARIABLE}, else harness.yaml)",
    )


def database_from(arguments: argparse.Namespace) -> SecretStr | None:
    """The option's URL, or None."""
    return SecretStr(arguments.database) if arguments.database else None


def _url(text: str) -> str:
    try:
        password = urlsplit(text).password
    except ValueError:
        password = None  # not what Python takes for a URL; what PostgreSQL thinks of it is told later
    if password:
        register([password])
        say(f"warning: `ps` shows everybody here the password in --database; export {VARIABLE}=… instead")
    return text
