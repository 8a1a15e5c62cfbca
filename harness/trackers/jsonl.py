"""Issues kept in `.beads/issues.jsonl`, one JSON object a line, without `bd`.

Lines that an operation does not concern keep their bytes: order, unknown fields, spacing and line endings included.
A write is a new file renamed over the old one under a lock, so that readers see the old state or the new one, and ten
claimers get one winner. `bd` does not know of this lock: a repository where `bd` writes is a case for `beads`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from harness.config.settings import Settings
from harness.errors import TrackerError
from harness.protocols import Wanted
from harness.redact import redact
from harness.trackers import record
from harness.trackers.book import Book, now, replace
from harness.trackers.lock import held
from harness.types import Issue

DEFAULT_PATH = Path(".beads/issues.jsonl")

T = TypeVar("T")


class JsonlTracker:
    """The issues of one JSON Lines file: `tracker.path`, by default `.beads/issues.jsonl` in the repository."""

    name = "jsonl"

    def __init__(self, settings: Settings) -> None:
        self._path = (settings.root / (settings.tracker.path or DEFAULT_PATH)).resolve()
        self._cache: tuple[tuple[int, int, int], Book] | None = None

    async def get(self, issue_id: str) -> Issue:
        book = await self._read()
        return book.issue(book.find(issue_id))

    async def ready(self, wanted: Wanted) -> list[Issue]:
        return await anyio.to_thread.run_sync(_ready, await self._read(), wanted)

    async def children(self, issue_id: str) -> list[Issue]:
        book = await self._read()
        book.find(issue_id)
        found = (book.issue(row) for row in book.children.get(issue_id, ()))
        return sorted((child for child in found if child.status not in record.OVER), key=record.by_urgency)

    async def claim(self, issue_id: str, actor: str) -> bool:
        def take(book: Book) -> bool:
            row = book.find(issue_id)
            if row.get("assignee") == actor and row.get("status") == "in_progress":
                return True
            if row.get("status", "open") != "open" or row.get("assignee") not in (None, "", actor):
                return False
            book.change(row, status="in_progress", assignee=actor)
            return True

        return await self._write(take)

    async def comment(self, issue_id: str, text: str, actor: str) -> None:
        await self._write(lambda book: book.comment(book.find(issue_id), text, actor))

    async def close(self, issue_id: str, reason: str, actor: str) -> None:
        def shut(book: Book) -> None:
            row = book.find(issue_id)
            if row.get("status") not in record.OVER:
                book.change(row, status="closed", closed_at=now(), close_reason=redact(reason))

        await self._write(shut)

    async def release(self, issue_id: str, reason: str, actor: str, labels: Sequence[str] = ()) -> None:
        def give_back(book: Book) -> None:
            row = book.find(issue_id)
            changes: dict[str, Any] = {}
            if row.get("status") not in record.OVER and row.get("assignee") in (None, "", actor):
                changes |= {"status": "open", "assignee": None}
            if labels:
                changes["labels"] = list(dict.fromkeys([*(row.get("labels") or ()), *labels]))
            if changes:
                book.change(row, **changes)
            book.comment(row, reason, actor)

        await self._write(give_back)

    async def file(self, issue: Issue, discovered_from: str, actor: str) -> str:
        return await self._write(lambda book: book.add(issue, discovered_from, actor))

    async def suggest(self, issue_id: str, tier: str, actor: str) -> None:
        """Label an issue `model:<tier>`, and say so in Beads' own metadata."""

        def label(book: Book) -> None:
            row = book.find(issue_id)
            labels = dict.fromkeys([*(row.get("labels") or ()), f"model:{tier}"])
            metadata = {**(row.get("metadata") or {}), "execution_suggested_model": tier}
            book.change(row, labels=list(labels), metadata=metadata)

        await self._write(label)

    # ── the file ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> Book:
        return await anyio.to_thread.run_sync(self._load)

    def _load(self) -> Book:
        """The file as it is, parsed again only when it has changed. Readers share the book and leave it alone."""
        with self._trouble():
            stamp = _stamp(self._path.stat())
            if self._cache is None or self._cache[0] != stamp:
                self._cache = (stamp, self._parsed())
            return self._cache[1]

    def _parsed(self) -> Book:
        return Book.parse(self._path, self._path.read_bytes(), self._cache[1] if self._cache else None)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            hint = "run `bd init`, or name the file: `tracker: {kind: jsonl, path: …}`"
            raise TrackerError(f"{self._path}: no such file", hint) from None
        except OSError as error:
            raise TrackerError(f"{self._path}: {error.strerror}") from None

    async def _write(self, change: Callable[[Book], T]) -> T:
        """Change a private copy of the book and put it in the file's place, with nobody in between."""

        def work() -> T:
            with self._trouble():
                book = self._parsed()
            result = change(book)
            if book.dirty:
                # What was just written need not be read again; nobody changes this copy any more.
                self._cache = (_stamp(replace(self._path, book.text())), book)
            return result

        async with held(self._path.parent):
            return await anyio.to_thread.run_sync(work)


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    """What tells one content of the file from another."""
    return state.st_mtime_ns, state.st_size, state.st_ino


def _ready(book: Book, wanted: Wanted) -> list[Issue]:
    today = datetime.now(UTC)
    rows = (row for row in book.rows() if record.takeable(row, today) and not book.held_back(row))
    if wanted.parent is not None:
        below = _descendants(book, wanted.parent)
        rows = (row for row in rows if row["id"] in below)
    issues = (record.issue(row, "jsonl", ()) for row in rows)
    return sorted((found for found in issues if record.wanted_by(wanted, found)), key=record.by_urgency)[: wanted.limit]


def _descendants(book: Book, root: str) -> set[str]:
    found: set[str] = set()
    waiting = [root]
    while waiting:
        below = {row["id"] for row in book.children.get(waiting.pop(), ())} - found
        found |= below
        waiting.extend(below)
    return found
