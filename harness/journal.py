"""What has been done and paid for, in one SQLite file: nothing is done or paid for twice.

One row per (run, key). Keys are names, never counters, so the order in which parallel work finishes cannot matter.
A step is looked for, else made, and recorded before its value is handed on; a step that fails or is cancelled leaves
no row. That is all there is to resuming.

The file may be open in several processes at once (a worker and the console): it is in WAL mode, readers never wait,
writers wait for each other up to `BUSY_SECONDS`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from harness.errors import JournalError
from harness.redact import redact_json
from harness.types import Event, Run
from harness.wal import use_wal

T = TypeVar("T")

SCHEMA_VERSION = 1
APPLICATION_ID = 0x42484A4C
"""Marks the file as ours: "BHJL" in its header."""
BUSY_SECONDS = 15.0
EVENT_DELAY_SECONDS = 0.05
"""How long events are collected before they are written together."""

SCHEMA = """
CREATE TABLE steps (
    run_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (run_id, key));
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, issue_id TEXT NOT NULL, status TEXT NOT NULL, started_at TEXT, updated_at REAL NOT NULL,
    value TEXT NOT NULL);
CREATE INDEX runs_by_status ON runs (status, started_at);
CREATE INDEX runs_by_issue ON runs (issue_id, started_at);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX events_by_run ON events (run_id, number);
"""


class SqliteJournal:
    """A journal in the file `path`, made when it is not there.

    Raises JournalError when the file cannot serve: another schema, another program's, damaged, locked, not writable.
    """

    def __init__(self, path: Path | str, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = Path(path)
        self._limiter = anyio.CapacityLimiter(1)
        self._lock = threading.Lock()
        with self._translated():
            self._db = _open(self.path, busy_seconds)
        self._steps: dict[tuple[str, str], _Turn] = {}
        self._waiting: deque[Event] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._events_error: JournalError | None = None
        self._writer: threading.Thread | None = None

    async def step(self, run_id: str, key: str, kind: type[T], make: Callable[[], Awaitable[T]]) -> T:
        """The recorded value of (run, key), or `make()`'s, recorded before it is returned.

        Concurrent calls with one key wait for the first; if that fails or is cancelled, the next one makes it.
        Credentials are redacted in the record only.
        """
        turn = self._steps.setdefault((run_id, key), _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                recorded = await self._in_thread(self._read_step, run_id, key)
                if recorded is not None:
                    return self._as(kind, recorded, run_id, key)
                value = await make()
                text = dumped(kind, value)
                # What make() returned is paid for: a cancellation that arrives now must not lose it.
                with anyio.CancelScope(shield=True):
                    stored = await self._in_thread(self._write_step, run_id, key, text)
                return value if stored is None else self._as(kind, stored, run_id, key)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._steps[run_id, key]

    async def look(self, run_id: str, key: str, kind: type[T]) -> T | None:
        """The recorded value, or None."""
        recorded = await self._in_thread(self._read_step, run_id, key)
        return None if recorded is None else self._as(kind, recorded, run_id, key)

    async def keys(self, run_id: str, prefix: str = "") -> list[str]:
        """Names of a run's recorded steps that start with `prefix`, in the order of recording."""
        rows = await self._in_thread(
            self._query, "SELECT key FROM steps WHERE run_id = ? AND substr(key, 1, ?) = ? ORDER BY rowid",
            run_id, len(prefix), prefix,
        )  # fmt: skip
        return [key for (key,) in rows]

    async def save(self, run: Run) -> None:
        """The run's present state, for `runs`, `show` and the console."""
        row = (run.id, run.issue.id, run.status, run.started_at.isoformat() if run.started_at else None, time.time(),
               dumped(Run, run))  # fmt: skip
        with anyio.CancelScope(shield=True):
            await self._in_thread(
                self._execute,
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run_id) DO UPDATE SET"
                " issue_id = excluded.issue_id, status = excluded.status, started_at = excluded.started_at,"
                " updated_at = excluded.updated_at, value = excluded.value",
                *row,
            )

    async def load(self, run_id: str) -> Run | None:
        """The run as last saved, or None."""
        rows = await self._in_thread(self._query, "SELECT value FROM runs WHERE run_id = ?", run_id)
        return self._as(Run, rows[0][0], run_id, "run") if rows else None

    async def runs(
        self,
        active: bool = False,
        limit: int | None = None,
        issue: str | None = None,
        since: datetime | None = None,
    ) -> list[Run]:
        """Saved runs, newest first; `active` leaves out all that have ended, `issue` those of other issues, `since`
        those that began earlier."""
        chosen = {
            "issue_id = ?": issue,
            "started_at >= ?": since.astimezone(UTC).isoformat() if since else None,
        }
        kept = {condition: value for condition, value in chosen.items() if value is not None}
        conditions = [*kept, *(["status IN ('running', 'interrupted')"] if active else [])]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = await self._in_thread(
            self._query,
            f"SELECT run_id, value FROM runs {where} ORDER BY started_at DESC, updated_at DESC, run_id LIMIT ?",
            *kept.values(),
            -1 if limit is None else limit,
        )
        return [self._as(Run, value, run_id, "run") for run_id, value in rows]

    def note(self, event: Event) -> None:
        """Remember an event, soon; never waits. If it cannot be written, the next write raises why."""
        self._waiting.append(event)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_events, name="journal-events", daemon=True)
            self._writer.start()
        self._wake.set()

    async def events(self, run_id: str, after: int = 0) -> list[tuple[int, Event]]:
        """Events with sequence numbers above `after`, oldest first, those just noted included."""
        await self._in_thread(self._flush_events)
        rows = await self._in_thread(
            self._query,
            "SELECT number, value FROM events WHERE run_id = ? AND number > ? ORDER BY number",
            run_id,
            after,
        )
        return [(number, self._as(Event, value, run_id, f"event {number}")) for number, value in rows]

    async def forget(self, run_id: str) -> bool:
        """Delete all that is stored about a run, from the file itself too; False when there was nothing."""
        return bool(await self._in_thread(self._forget, run_id))

    async def reduce(self, run: Run) -> None:
        """Keep of an ended run this value alone: its steps and events are deleted, from the file itself too."""
        await self.forget(run.id)
        await self.save(run)

    async def aclose(self) -> None:
        """Write what is waiting and close the file; twice is fine."""
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._close)

    # ── on a worker thread, one at a time ─────────────────────────────────────────────────────────────────────

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    def _read_step(self, run_id: str, key: str) -> str | None:
        rows = self._query("SELECT value FROM steps WHERE run_id = ? AND key = ?", run_id, key)
        return rows[0][0] if rows else None

    def _write_step(self, run_id: str, key: str, text: str) -> str | None:
        """Record a step; another process's value if that was first."""
        self._raise_events_error()
        with self._translated(), self._lock:
            row = (run_id, key, text, time.time())
            if self._db.execute("INSERT INTO steps VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount:
                return None
        return self._read_step(run_id, key)

    def _execute(self, statement: str, *values: Any) -> None:
        self._raise_events_error()
        with self._translated(), self._lock:
            self._db.execute(statement, values)

    def _query(self, statement: str, *values: Any) -> list[Any]:
        with self._translated(), self._lock:
            return self._db.execute(statement, values).fetchall()

    def _forget(self, run_id: str) -> int:
        self._flush_events()
        gone = 0
        with self._translated(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("steps", "runs", "events"):
                gone += self._db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,)).rowcount
            self._db.execute("COMMIT")
            # secure_delete has overwritten the rows; the checkpoint empties the log that still holds them.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        try:
            self._flush_events()
            self._raise_events_error()
        finally:
            with self._lock:
                self._db.close()

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────

    def _write_events(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                time.sleep(EVENT_DELAY_SECONDS)
                try:
                    self._flush_events()
                except JournalError as error:
                    self._events_error = error

    def _flush_events(self) -> None:
        if not self._waiting:
            return
        with self._translated(), self._lock:
            batch = []
            while self._waiting:
                batch.append(self._waiting.popleft())
            rows = [(event.run_id, dumped(Event, event)) for event in batch]
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO events (run_id, value) VALUES (?, ?)", rows)
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._waiting.extendleft(reversed(batch))
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _raise_events_error(self) -> None:
        error, self._events_error = self._events_error, None
        if error is not None:
            raise error

    # ── errors ────────────────────────────────────────────────────────────────────────────────────────────────

    def _as(self, kind: type[T], text: str, run_id: str, key: str) -> T:
        try:
            value: T = adapter(kind).validate_json(text)  # type: ignore[arg-type]
            return value
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise JournalError(
                f"{self.path}: step '{key}' of run {run_id} was recorded by another version of harness: "
                f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                f"finish the run with that version, or start it anew: harness forget {run_id}",
            ) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "closed" in str(error):
                raise JournalError(f"{self.path}: the journal is closed already") from None
            raise
        except sqlite3.DatabaseError as error:
            raise _told(self.path, error) from None


class _Turn:
    """Who may make a step now, and how many want to."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.waiting = 0


def _open(path: Path, busy_seconds: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Issue text and code stand in it: for the owner's eyes only. SQLite gives its WAL the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalError(
            f"{path}: cannot be written: {error.strerror}",
            "make the folder writable, or work on a copy of the repository",
        ) from None
    db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        _check(db, path, busy_seconds)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    use_wal(db, busy_seconds)
    # FULL: a step is money spent, so it outlives a power cut too, not only a killed process. One fsync is a few
    # milliseconds against the seconds of the model call before it.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    if _pragma(db, "application_id") != APPLICATION_ID:
        db.execute("BEGIN IMMEDIATE")
        # Looked at again under the write lock: another process may have made the tables meanwhile.
        if _pragma(db, "application_id") != APPLICATION_ID:
            if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                raise JournalError(f"{path}: is another program's database", "name another file, or move this one away")
            for statement in filter(None, map(str.strip, SCHEMA.split(";"))):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    version = _pragma(db, "user_version")
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path}: was written by a newer harness (journal version {version}; this one reads {SCHEMA_VERSION})",
            "upgrade: pip install --upgrade beads-harness",
        )
    if version < SCHEMA_VERSION:
        raise JournalError(
            f"{path}: was written by an older harness (journal version {version}; this one reads {SCHEMA_VERSION})",
            f"finish its runs with the older version, then move the file away: mv {path} {path}.{version}",
        )
    # Journals that were made before this index do without it otherwise, and any version can read them with it.
    db.execute("CREATE INDEX IF NOT EXISTS runs_by_issue ON runs (issue_id, started_at)")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _told(path: Path, error: sqlite3.DatabaseError) -> JournalError:
    name = getattr(error, "sqlite_errorname", "") or ""
    aside = f"move it away and go on without its history: mv {path} {path}.damaged (finished work is safe in git)"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(f"{path}: is locked by another process", "end that process, then try again")
    if name == "SQLITE_NOTADB":
        return JournalError(f"{path}: is not a journal", aside)
    if name.startswith("SQLITE_CORRUPT"):
        return JournalError(f"{path}: is damaged ({error})", aside)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return JournalError(f"{path}: cannot be written ({error})", "make the file and its folder writable")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return JournalError(f"{path}: {error}", "see that the disk has room and works, then: harness resume --all")
    return JournalError(f"{path}: {error}", aside)


@lru_cache(maxsize=256)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and writes values of a kind."""
    return TypeAdapter(kind)


def dumped(kind: Any, value: Any) -> str:
    """A value as it is recorded: JSON, with credentials redacted."""
    data = adapter(kind).dump_python(value, mode="json")
    return json.dumps(redact_json(to_jsonable_python(data)), ensure_ascii=False, separators=(",", ":"))
