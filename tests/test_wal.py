import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from harness.wal import use_wal


def mode(db: sqlite3.Connection) -> str:
    return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def busy_file(path: Path) -> sqlite3.Connection:
    """A file another connection is writing, in the old mode."""
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE t (x)")
    writer.execute("BEGIN EXCLUSIVE")
    return writer


def test_waits_for_a_writer(tmp_path: Path) -> None:
    with closing(busy_file(tmp_path / "a.db")) as writer:
        with closing(sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None)) as db:
            release = threading.Timer(0.1, writer.execute, ["COMMIT"])
            release.start()
            use_wal(db, 10)
            release.join()
            assert mode(db) == "wal"


def test_gives_up_when_its_time_is_over(tmp_path: Path) -> None:
    with closing(busy_file(tmp_path / "a.db")):
        with closing(sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None)) as db:
            began = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                use_wal(db, 0.05)
            assert time.monotonic() - began >= 0.05


def test_another_fault_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database at all, by its looks" * 40)
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as db:
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            use_wal(db, 60)
