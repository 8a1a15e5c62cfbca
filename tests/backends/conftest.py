"""A private PostgreSQL, and repositories that share a remote."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next((path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)


def _as_nobody_special(*argv: str) -> None:
    """PostgreSQL refuses to run as root; then the distribution's `postgres` user runs it."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *argv], check=True, capture_output=True, cwd="/")  # noqa: TID251 - before any loop runs


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a fresh cluster on a free port, gone afterwards."""
    binaries = _binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    _as_nobody_special(str(binaries / "initdb"), "-D", data, "-U", "harness", "-A", "trust", "-N", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
    _as_nobody_special(str(binaries / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://harness@127.0.0.1:{port}"
    finally:
        _as_nobody_special(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: str, request: pytest.FixtureRequest) -> str:
    """URL of an empty database of its own."""
    import psycopg

    name = f"d{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as db:
        db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[arg-type]
        db.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    return f"{postgres}/{name}"


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, check=True)  # noqa: TID251
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "far.git")
    git(tmp_path, "clone", "-q", "far.git", "seed")
    (tmp_path / "seed" / "a.txt").write_text("one\n")
    git(tmp_path / "seed", "add", "-A")
    git(tmp_path / "seed", "-c", "user.name=t", "-c", "user.email=t@e", "commit", "-q", "-m", "first")
    git(tmp_path / "seed", "push", "-q", "origin", "HEAD:main")
    return tmp_path / "far.git"


def clone(remote: Path, folder: Path) -> Path:
    """A machine's own clone."""
    git(remote.parent, "clone", "-q", str(remote), str(folder))
    return folder
