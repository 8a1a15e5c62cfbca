"""A Beads issue record, as `bd --json` prints it and as `.beads/issues.jsonl` stores it, as an Issue.

The two differ in how a dependency is told: the file says `{"depends_on_id": …, "type": …}`, `bd show` embeds the other
issue with `"id"`, `"status"` and `"dependency_type"`. Both are read here, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.protocols import Wanted
from harness.types import Issue

Record = Mapping[str, Any]

BLOCKING = frozenset({"blocks", "conditional-blocks", "waits-for"})
"""Dependency types that hold an issue back; `parent-child` only structures, the others only remember."""

OVER = frozenset({"closed", "tombstone"})
"""States in which an issue neither needs work nor blocks any."""

BOOKKEEPING = frozenset({
    "agent", "convoy", "event", "gate", "merge-request", "message", "molecule", "rig", "role", "slot",
})  # fmt: skip
"""Types by which Beads and Gas Town keep their own books; nobody's work."""

BOOKKEEPING_LABELS = frozenset(
    f"gt:{name}" for name in (*BOOKKEEPING, "channel", "escalation", "group", "merge-slot", "queue", "wisp")
)
"""The same as labels: newer Gas Towns file their books as tasks."""

LAST_DAY = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Link:
    """One dependency of an issue on another."""

    target: str
    kind: str
    status: str | None
    """The target's, where the record tells it."""


def links(record: Record) -> Iterator[Link]:
    """The record's dependencies, in its order."""
    for entry in record.get("dependencies") or ():
        if "depends_on_id" in entry:
            yield Link(str(entry["depends_on_id"]), str(entry.get("type") or "blocks"), None)
        elif "id" in entry:
            yield Link(str(entry["id"]), str(entry.get("dependency_type") or "blocks"), entry.get("status"))


def parent(record: Record) -> str | None:
    """The epic an issue belongs to, or None."""
    told = record.get("parent")
    return str(told) if told else next((link.target for link in links(record) if link.kind == "parent-child"), None)


def issue(record: Record, source: str, blocked_by: Iterable[str] | None = None) -> Issue:
    """The record as an Issue. `blocked_by` overrides what the record's own dependencies tell.

    The body is the description followed by design, acceptance criteria and notes under their headings: Beads keeps
    them apart, and whoever does the work needs all four.
    """
    metadata = record.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
    if blocked_by is None:
        blocked_by = (link.target for link in links(record) if link.kind in BLOCKING and link.status not in OVER)
    return Issue(
        id=str(record["id"]),
        title=str(record.get("title") or ""),
        body=_body(record),
        labels=tuple(str(label) for label in record.get("labels") or ()),
        type=_type(record),
        priority=_priority(record.get("priority")),
        status=str(record.get("status") or "open"),
        assignee=record.get("assignee") or None,
        files=_files(metadata.get("files")),
        blocked_by=tuple(dict.fromkeys(blocked_by)),
        parent=parent(record),
        created_at=moment(record.get("created_at")),
        metadata=metadata,
        source=source,
    )


def _type(record: Record) -> str:
    return str(record.get("issue_type") or "task").lower()


def takeable(record: Record, now: datetime) -> bool:
    """Open, nobody's, somebody's work, and not put off until later. Blockers are not looked at."""
    put_off = moment(record.get("defer_until"))
    return (
        record.get("status", "open") == "open"
        and not record.get("assignee")
        and _type(record) not in BOOKKEEPING
        and BOOKKEEPING_LABELS.isdisjoint(record.get("labels") or ())
        and not record.get("ephemeral")
        and not record.get("pinned")
        and (put_off is None or put_off <= now)
    )


def wanted_by(wanted: Wanted, found: Issue) -> bool:
    """Whether the issue has all the labels, one of the types, and is not excluded."""
    return (
        set(wanted.labels) <= set(found.labels)
        and (not wanted.types or found.type in wanted.types)
        and found.id not in wanted.exclude
    )


def by_urgency(found: Issue) -> tuple[int, datetime, str]:
    """Sort key: most urgent first, then oldest; issues without a date come last of their priority."""
    return found.priority, found.created_at or LAST_DAY, found.id


def moment(text: Any) -> datetime | None:
    """An RFC 3339 time, or None when there is none or it cannot be read; without a zone it is UTC."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _priority(value: Any) -> int:
    return 2 if value is None else int(value)


def _files(value: Any) -> tuple[str, ...]:
    return tuple(str(path) for path in value) if isinstance(value, list | tuple) else ()


def _body(record: Record) -> str:
    parts = [str(record.get("description") or "")]
    for key, heading in (("design", "Design"), ("acceptance_criteria", "Acceptance criteria"), ("notes", "Notes")):
        if record.get(key):
            parts.append(f"## {heading}\n\n{record[key]}")
    return "\n\n".join(part for part in parts if part)
