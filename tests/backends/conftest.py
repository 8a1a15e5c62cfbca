"""A private PostgreSQL, and repositories that share a remote."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Cluster:
    """A PostgreSQL of our own: where it is, and how to start it anew."""

    def __init__(self, binaries: Path, folder: Path, port: int) -> None:
        self.url = f"postgresql://harness@127.0.0.1:{port}"
        self._control = (str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        self._start = ("-o", options, "-l", str(folder / "log"), "start")

    def start(self) -> None:
        _as_nobody_special(*self._control, *self._start)

    def stop(self) -> None:
        _as_nobody_special(*self._control, "-m", "immediate", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with private_cluster() as made:
        yield made


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """A fresh cluster on a free port, gone afterwards."""
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
    made = Cluster(binaries, folder, port)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def restart_postgres(cluster: Cluster) -> Callable[[], None]:
    return cluster.restart


@pytest.fixture
def database(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """URL of an empty database of its own."""
    import psycopg

    name = f"d{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(f"{cluster.url}/postgres", autocommit=True) as db:
        db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        db.execute(f'CREATE DATABASE "{name}"')
    return f"{cluster.url}/{name}"


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
