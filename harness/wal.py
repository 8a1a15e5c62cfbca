"""SQLite's write-ahead log, also while others open the same file."""

from __future__ import annotations

import sqlite3
import time

_PAUSE = 0.005


def use_wal(db: sqlite3.Connection, busy_seconds: float) -> None:
    """Put the open file `db` into WAL mode, waiting up to `busy_seconds` for others; then sqlite3.OperationalError.

    SQLite's own busy timeout does not hold for this one statement: two connections that both read the old mode and
    both want the new one would wait for each other for ever, so it refuses one of them at once.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE)
