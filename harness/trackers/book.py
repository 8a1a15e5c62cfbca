"""The lines of `.beads/issues.jsonl`: read strictly, changed a line at a time, the others left byte for byte."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import IssueNotFound, TrackerError
from harness.redact import redact
from harness.trackers import record
from harness.types import Issue

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FAILED = (
    "failed",
    "rejected",
    "wontfix",
    "won't fix",
    "cancel",
    "abandoned",
    "blocked",
    "error",
    "timeout",
    "aborted",
)
"""Words in a close reason by which Beads tells that a blocker failed; `conditional-blocks` waits for one of them."""


@dataclass
class _Line:
    """One line as it stands in the file, and the record on it (None: blank)."""

    raw: bytes
    row: dict[str, Any] | None


class Book:
    """The file's lines and what they say."""

    def __init__(self, path: Path, lines: list[_Line], by_id: dict[str, _Line]) -> None:
        self.path, self._lines, self._by_id = path, lines, by_id
        self.dirty = False

    @classmethod
    def parse(cls, path: Path, data: bytes, known: Book | None = None) -> Book:
        """The file's content; lines that stand in `known`, byte for byte, need not be read again."""
        read = {line.raw: line.row for line in known._lines} if known else {}
        lines: list[_Line] = []
        by_id: dict[str, _Line] = {}
        numbers: dict[str, int] = {}
        for number, raw in enumerate(_split(data), start=1):
            row = read[raw] if raw in read else _row(raw, f"{path}:{number}")
            line = _Line(raw, row)
            lines.append(line)
            if row is not None:
                issue_id = row["id"]
                if issue_id in by_id:
                    first = f"it stands on line {numbers[issue_id]} already"
                    raise TrackerError(f"{path}:{number}: second issue '{issue_id}'; {first}", "keep one of the two")
                by_id[issue_id], numbers[issue_id] = line, number
        return cls(path, lines, by_id)

    def rows(self) -> Iterable[dict[str, Any]]:
        return (line.row for line in self._by_id.values() if line.row is not None)

    def find(self, issue_id: str) -> dict[str, Any]:
        line = self._by_id.get(issue_id)
        if line is None or line.row is None or line.row.get("status") == "tombstone":
            raise IssueNotFound(f"no issue '{issue_id}' in {self.path}")
        return line.row

    def issue(self, row: dict[str, Any]) -> Issue:
        return record.issue(row, "jsonl", self.blockers(row))

    @cached_property
    def children(self) -> dict[str, list[dict[str, Any]]]:
        """Parent → its children's records."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows():
            above = record.parent(row)
            if above is not None:
                found[above].append(row)
        return found

    def blockers(self, row: dict[str, Any]) -> tuple[str, ...]:
        """Ids of the issues that hold this one back, by Beads' own rules; ids the file does not know hold nothing."""
        return tuple(link.target for link in record.links(row) if self._blocks(link))

    def _blocks(self, link: record.Link) -> bool:
        line = self._by_id.get(link.target)
        if line is None or line.row is None or link.kind not in record.BLOCKING:
            return False
        open_still = line.row.get("status", "open") not in record.OVER
        if link.kind == "conditional-blocks" and not open_still:
            reason = str(line.row.get("close_reason") or "").lower()
            return not any(word in reason for word in _FAILED)
        if link.kind == "waits-for":
            children = self.children.get(link.target, ())
            return any(child.get("status", "open") not in record.OVER for child in children) if children else open_still
        return open_still

    def held_back(self, row: dict[str, Any]) -> bool:
        """Whether it or an epic above it is blocked."""
        seen: set[str] = set()
        current: dict[str, Any] | None = row
        while current is not None and current["id"] not in seen:
            if self.blockers(current):
                return True
            seen.add(current["id"])
            above = self._by_id.get(record.parent(current) or "")
            current = above.row if above else None
        return False

    def change(self, row: dict[str, Any], **changes: Any) -> None:
        """Set fields of a record; None removes one. Other books may share the record, so that it is replaced."""
        line = self._by_id[row["id"]]
        assert line.row is not None
        changed = {**line.row, **changes, "updated_at": now()}
        kept = {key: value for key, value in changed.items() if value is not None or key not in changes}
        line.raw = _dump(kept, b"\r\n" if line.raw.endswith(b"\r\n") else b"\n")
        line.row = json.loads(line.raw)  # as whoever reads the file will have it
        self._changed()

    def comment(self, row: dict[str, Any], text: str, actor: str) -> None:
        comments = list(row.get("comments") or ())
        number = 1 + max((entry["id"] for entry in comments if isinstance(entry.get("id"), int)), default=0)
        said = {"id": number, "issue_id": row["id"], "author": actor, "text": redact(text), "created_at": now()}
        self.change(row, comments=[*comments, said])

    def add(self, issue: Issue, discovered_from: str, actor: str) -> str:
        issue_id = self._new_id()
        links = [(discovered_from, "discovered-from")] if discovered_from else []
        links += [(target, "blocks") for target in issue.blocked_by]
        links += [(issue.parent, "parent-child")] if issue.parent else []
        metadata = {**issue.metadata, **({"files": list(issue.files)} if issue.files else {})}
        row = {
            "id": issue_id,
            "title": " ".join(redact(issue.title).split()) or "(no title)",
            "description": redact(issue.body),
            "status": "open",
            "priority": issue.priority,
            "issue_type": issue.type,
            "created_at": now(),
            "created_by": actor,
            "updated_at": now(),
            "labels": list(issue.labels),
            "dependencies": [{"issue_id": issue_id, "depends_on_id": to, "type": kind} for to, kind in links],
            "metadata": metadata,
        }
        row = {key: value for key, value in row.items() if value not in ("", [], {})}
        if self._lines and not self._lines[-1].raw.endswith(b"\n"):
            self._lines[-1].raw += b"\n"
        raw = _dump(row)
        self._lines.append(_Line(raw, json.loads(raw)))
        self._by_id[issue_id] = self._lines[-1]
        self._changed()
        return issue_id

    def _changed(self) -> None:
        self.dirty = True
        self.__dict__.pop("children", None)  # found anew when it is asked for again

    def _new_id(self) -> str:
        prefixes = Counter(issue_id.rpartition("-")[0] for issue_id in self._by_id)
        prefix = next((name for name, _ in prefixes.most_common() if name), self.path.parent.parent.name or "issue")
        while True:
            issue_id = f"{prefix}-" + "".join(random.choices(_LETTERS, k=5))
            if issue_id not in self._by_id:
                return issue_id

    def text(self) -> bytes:
        return b"".join(line.raw for line in self._lines)


def _split(data: bytes) -> list[bytes]:
    """Lines with their ends, split at newlines only: a lone carriage return is no end of a line here."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + [line for line in data.split(b"\n")[-1:] if line]


def _row(raw: bytes, where: str) -> dict[str, Any] | None:
    if not raw.strip():
        return None
    try:
        row = json.loads(raw.decode("utf-8-sig"))
    except ValueError as error:
        conflict = raw.startswith((b"<<<<<<<", b"=======", b">>>>>>>"))
        hint = (
            "resolve the merge conflict in this file" if conflict else "repair or remove the line; nothing was changed"
        )
        raise TrackerError(f"{where}: is not a JSON object: {error}", hint) from None
    if not isinstance(row, dict):
        raise TrackerError(f"{where}: expected a JSON object, got {type(row).__name__}", "one issue a line")
    for key, kind, needed in _SHAPE:
        value = row.get(key)
        if (value is None and needed) or (
            value is not None and (not isinstance(value, kind) or isinstance(value, bool))
        ):
            got = "nothing" if value is None else repr(value)[:60]
            raise TrackerError(
                f"{where}: {key}: expected {_WORDS[kind]}, got {got}", "repair the line; nothing was changed"
            )
    for entry in (*(row.get("dependencies") or ()), *(row.get("comments") or ())):
        if not isinstance(entry, dict):
            raise TrackerError(f"{where}: dependencies and comments are lists of objects", "repair the line")
    return row


_SHAPE: tuple[tuple[str, type, bool], ...] = (
    ("id", str, True), ("title", str, False), ("status", str, False), ("priority", int, False),
    ("assignee", str, False), ("labels", list, False), ("dependencies", list, False), ("comments", list, False),
    ("metadata", dict, False),
)  # fmt: skip
_WORDS: dict[type, str] = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def _dump(row: dict[str, Any], end: bytes = b"\n") -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + end


def now() -> str:
    return datetime.now(UTC).isoformat()


def replace(path: Path, data: bytes) -> os.stat_result:
    """Put `data` in the file's place: on disk before it has the name, with the old file's mode; its status."""
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            written = os.fstat(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o7777)
        os.replace(temporary, path)
        return written
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise TrackerError(f"cannot write {path}: {error.strerror}", "nothing was changed") from None
