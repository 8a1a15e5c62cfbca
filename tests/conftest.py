"""Guards for every test: no network but loopback, no real home, real components where a user has them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = {
    "needs_bd": ("bd", "go install github.com/steveyegge/beads/cmd/bd@latest"),
    "needs_gt": ("gt", "go install github.com/steveyegge/gastown/cmd/gt@latest"),
    "needs_sqlite": ("sqlite3", "apt-get install sqlite3"),
    "needs_redis": ("redis-server", "apt-get install redis-server"),
    "needs_postgres": ("pg_ctl", "apt-get install postgresql"),
    "needs_prometheus": ("prometheus", "apt-get install prometheus"),
    "needs_bwrap": ("bwrap", "apt-get install bubblewrap"),
    "needs_chromium": ("chromium", "apt-get install chromium"),
    "needs_claude": ("claude", "npm install -g @anthropic-ai/claude-code"),
    "needs_codex": ("codex", "npm install -g @openai/codex"),
    "needs_opencode": ("opencode", "npm install -g opencode-ai"),
}
"""Marker → the program it needs, and how to install it."""

_REAL_CONNECT = socket.socket.connect
_VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "BD_ACTOR",
    "BEADS_DIR",
    "BEADS_DB",
    "CLAUDECODE",
)


def installed(program: str) -> str | None:
    """The program's path; PostgreSQL's server tools are often off PATH on Debian."""
    found = shutil.which(program)
    if found is None and program == "pg_ctl":
        found = next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, (program, hint) in PROGRAMS.items():
            if item.get_closest_marker(marker) and installed(program) is None:
                if os.environ.get("CI"):
                    raise pytest.UsageError(f"{item.nodeid} needs {program}, which CI must install: {hint}")
                item.add_marker(pytest.mark.skip(reason=f"needs {program}: {hint}"))


@pytest.fixture(autouse=True)
def _guards(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in [key for key in os.environ if key.startswith(("GIT_", "HARNESS_", "OTEL_", "PG"))]:
        monkeypatch.delenv(name)
    # setattr, not a mock: a real connection to anywhere but this machine must be impossible in a test.
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)
    yield


def _loopback_only(self: socket.socket, address: object) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = str(address[0])  # type: ignore[index]
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}: tests talk to this machine only")
    return _REAL_CONNECT(self, address)  # type: ignore[arg-type]
