"""What the Beads hooks leave behind: one empty file for each issue created or changed since it was last drained.

An event is a wake-up, no more: labels arrive after an issue is created, and bd may exit before its hook has started.
Whoever drains reads the tracker afterwards, and polls it besides.
"""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".event"


def folder(state: Path) -> Path:
    """Where the hooks write, under the repository's `.harness/`."""
    return state / "spool"


def put(spool: Path, issue_id: str) -> None:
    """Leave an event, as the hook does; the same issue twice is one event."""
    spool.mkdir(parents=True, exist_ok=True)
    (spool / (issue_id + SUFFIX)).touch()


def drain(spool: Path) -> tuple[str, ...]:
    """Take all events: ids of changed issues, oldest first; empty when there are none, or no spool.

    An event is gone before its id is returned, so what changes while the caller looks at the tracker is a new event.
    """
    try:
        events = sorted(
            ((entry.stat().st_mtime_ns, entry) for entry in spool.glob("*" + SUFFIX)), key=lambda pair: pair[0]
        )
    except FileNotFoundError:  # another watcher was quicker
        return drain(spool)
    taken = []
    for _, entry in events:
        try:
            entry.unlink()
        except FileNotFoundError:
            continue
        taken.append(entry.name.removesuffix(SUFFIX))
    return tuple(taken)
