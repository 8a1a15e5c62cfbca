"""What became of past work, in one SQLite file: a row an attempt, a row a run, and running sums by evidence key.

Standard library only, so that `harness stats` and a learned route start fast. The sums are kept in the transaction
that adds or removes rows, so they are never out of step: 100,000 attempts are read as a few hundred sums.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from harness.errors import JournalError
from harness.records import DAY, OUTCOME_FIELDS, RUN_FIELDS, SUMMED, Outcome, RunOutcome, Sum, summed
from harness.wal import use_wal

FILE = "outcomes.db"
BUSY_SECONDS = 15.0
SCHEMA_VERSION = 1
APPLICATION_ID = 0x42484F43
"""Marks the file as ours: "BHOC" in its header."""

SCHEMA = f"""
CREATE TABLE outcomes ({", ".join(OUTCOME_FIELDS)}, PRIMARY KEY (run_id, task_id, round, attempt)) WITHOUT ROWID;
CREATE UNIQUE INDEX outcomes_by_id ON outcomes (id);
CREATE INDEX outcomes_by_time ON outcomes (at);
CREATE TABLE runs ({", ".join(RUN_FIELDS)}, PRIMARY KEY (run_id)) WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (at);
CREATE TABLE sums (key, tier, day INTEGER, scripted INTEGER, rank, {", ".join(SUMMED)},
    PRIMARY KEY (key, scripted, tier, day)) WITHOUT ROWID;
"""


class Outcomes:
    """The store in the folder `state`, made when it is not there; close it, or use it in a `with`.

    With `create` false a missing file reads as empty and nothing is written. Raises JournalError when the file cannot
    serve.
    """

    def __init__(self, state: Path, create: bool = True) -> None:
        self.path = state / FILE
        with self._told():
            self._db = _open(self.path, create)

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def put(self, run: RunOutcome, outcomes: Sequence[Outcome]) -> None:
        """Store a run and its attempts in place of what was stored of that run; people's ratings stay."""
        with self._told(), self._transaction():
            ratings = {
                (row["task_id"], row["round"], row["attempt"]): (row["rating"], row["notes"])
                for row in self._db.execute(
                    "SELECT * FROM outcomes WHERE run_id = ? AND rating IS NOT NULL", (run.run_id,)
                )
            }
            self._remove(run.run_id)
            self._db.execute(f"INSERT INTO runs VALUES ({_marks(RUN_FIELDS)})", astuple(run))
            kept = [_rated(outcome, ratings) for outcome in outcomes]
            self._db.executemany(f"INSERT INTO outcomes VALUES ({_marks(OUTCOME_FIELDS)})", map(_row, kept))
            self._count(kept, 1)

    def forget(self, run_id: str) -> int:
        """Delete a run's records and take them out of the sums; returns how many attempts there were."""
        with self._told():
            with self._transaction():
                gone = self._remove(run_id)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def rate(self, which: str, rating: int, notes: str | None = None) -> list[Outcome]:
        """Rate attempts 1 to 5 by id (or the start of one), run or issue; returns them as they stand now."""
        with self._told(), self._transaction():
            found = self.find(which)
            self._count(found, -1)
            for outcome in found:
                self._db.execute(
                    "UPDATE outcomes SET rating = ?, notes = coalesce(?, notes) WHERE id = ?",
                    (rating, notes, outcome.id),
                )
            now = [outcome for old in found for outcome in self._select("WHERE id = ?", (old.id,))]
            self._count(now, 1)
        return now

    def find(self, which: str) -> list[Outcome]:
        """Attempts of an id, of a unique beginning of one, of a run or of an issue; empty when nothing matches."""
        exact = list(self._select("WHERE id = ? OR run_id = ? OR issue_id = ? ORDER BY at", (which,) * 3))
        if exact or len(which) < 4:
            return exact
        near = list(self._select("WHERE substr(id, 1, ?) = ?", (len(which), which)))
        return near if len(near) == 1 else []

    def latest(self, limit: int = -1, since: int = 0) -> Iterator[Outcome]:
        """Attempts, newest first."""
        return self._select("WHERE at >= ? ORDER BY at DESC, run_id DESC LIMIT ?", (since, limit))

    def runs(self, since: int = 0, limit: int = -1) -> Iterator[RunOutcome]:
        """Runs, newest first."""
        rows = self._db.execute("SELECT * FROM runs WHERE at >= ? ORDER BY at DESC LIMIT ?", (since, limit))
        return (RunOutcome(**row) for row in map(dict, rows))

    def sums(self, keys: Iterable[str] | None = None, prefix: str = "", scripted: bool = False) -> list[Sum]:
        """Daily sums of the given keys, or of all keys that start with `prefix`."""
        columns = ("key", "tier", "day", "rank", *SUMMED)
        chosen = f"SELECT {', '.join(columns)} FROM sums WHERE scripted = ? AND "
        if keys is None:
            # A range instead of LIKE: it can use the primary key.
            rows = self._db.execute(chosen + "key >= ? AND key < ?", (int(scripted), prefix, prefix + "\U0010ffff"))
        else:
            wanted = tuple(keys)
            rows = self._db.execute(chosen + f"key IN ({_marks(wanted)})", (int(scripted), *wanted))
        return [Sum(*row) for row in rows]

    def query(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Rows of a reading statement, for metrics."""
        with self._told():
            return self._db.execute(statement, values).fetchall()

    def version(self) -> int:
        """Changes whenever another connection has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────

    def _remove(self, run_id: str) -> int:
        old = list(self._select("WHERE run_id = ?", (run_id,)))
        self._count(old, -1)
        self._db.execute("DELETE FROM outcomes WHERE run_id = ?", (run_id,))
        self._db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        return len(old)

    def _count(self, outcomes: Sequence[Outcome], sign: int) -> None:
        add = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMMED)
        self._db.executemany(
            f"INSERT INTO sums VALUES ({_marks(SUMMED)}, ?, ?, ?, ?, ?) "
            f"ON CONFLICT (key, scripted, tier, day) DO UPDATE SET {add}",
            [
                (key, outcome.tier, outcome.at // DAY, outcome.scripted, outcome.rank,
                 *(sign * value for value in summed(outcome)))
                for outcome in outcomes for key in outcome.keys
            ],
        )  # fmt: skip
        if sign < 0 and outcomes:
            self._db.execute("DELETE FROM sums WHERE attempts = 0")

    def _select(self, where: str, values: Sequence[object]) -> Iterator[Outcome]:
        for row in self._db.execute(f"SELECT * FROM outcomes {where}", tuple(values)):
            yield Outcome(**{**dict(row), "keys": tuple(json.loads(row["keys"]))})

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _explained(self.path, error) from None


def _rated(outcome: Outcome, ratings: dict[tuple[str, int, int], tuple[int, str]]) -> Outcome:
    known = ratings.get((outcome.task_id, outcome.round, outcome.attempt))
    if known is None:
        return outcome
    return replace(outcome, rating=known[0], notes=known[1])


def _row(outcome: Outcome) -> tuple[object, ...]:
    values = {name: getattr(outcome, name) for name in OUTCOME_FIELDS}
    values["keys"] = json.dumps(outcome.keys, ensure_ascii=False)
    return tuple(values.values())


def _marks(names: Sequence[object]) -> str:
    return ", ".join("?" * len(names))


def _open(path: Path, create: bool) -> sqlite3.Connection:
    if not create and not path.exists():
        db = _connected(":memory:")
        _make(db)
        return db
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Issue titles stand in it: for the owner's eyes only. SQLite gives its log the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalError(f"{path}: cannot be written: {error.strerror}", "make the folder writable") from None
    db = _connected(str(path))
    try:
        use_wal(db, BUSY_SECONDS)
        db.execute("PRAGMA secure_delete = ON")
        with closing(db.execute("PRAGMA application_id")) as cursor:
            ours = cursor.fetchone()[0] == APPLICATION_ID
        if not ours:
            _make(db, path)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise JournalError(
                f"{path}: was written by another harness (outcomes version {version}; this one reads {SCHEMA_VERSION})",
                f"upgrade harness, or start a new record: mv {path} {path}.{version}",
            )
    except BaseException:
        db.close()
        raise
    return db


def _connected(name: str) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _make(db: sqlite3.Connection, path: Path | None = None) -> None:
    db.execute("BEGIN IMMEDIATE")
    # Looked at again under the write lock: another process may have made the tables meanwhile.
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise JournalError(f"{path}: is another program's database", "move it away")
        for statement in filter(None, map(str.strip, SCHEMA.split(";"))):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("COMMIT")


def _explained(path: Path, error: sqlite3.DatabaseError) -> JournalError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(f"{path}: is locked by another process", "end that process, then try again")
    if name == "SQLITE_NOTADB" or name.startswith("SQLITE_CORRUPT"):
        return JournalError(f"{path}: is damaged ({error})", f"go on without its history: mv {path} {path}.damaged")
    return JournalError(f"{path}: {error}", f"if it stays so: mv {path} {path}.damaged")
