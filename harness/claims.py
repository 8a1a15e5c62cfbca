"""What this repository's queue holds: one queue at a time, and a note of every claim, so that a crash strands none.

A claim is written down before the tracker is asked and crossed out after the issue is given back or landed. Only the
holder of the queue's lock writes notes, so notes found by the next holder are of a worker that is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from harness.engine import unfinished
from harness.errors import HarnessError, IssueNotFound, JournalError
from harness.protocols import Deps


@contextmanager
def queue_lock(state: Path) -> Iterator[None]:
    """Be the only queue of a repository; raises HarnessError when another one is. A dead owner's lock is free."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "queue.lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise HarnessError(
                f"{state.parent}: its queue is being worked off by {owner}", "watch it: harness runs --active"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        yield


class Claims:
    """Notes of the issues that a queue holds, one file each in `.harness/claims/`."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "claims"

    def note(self, issue_id: str, actor: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(issue_id)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"issue": issue_id, "actor": actor}), encoding="utf-8")
        draft.replace(path)

    def cross_out(self, issue_id: str) -> None:
        self._path(issue_id).unlink(missing_ok=True)

    def all(self) -> list[tuple[str, str]]:
        """(issue id, actor) of every note; raises JournalError for one that cannot be read."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                note = json.loads(path.read_text(encoding="utf-8"))
                found.append((str(note["issue"]), str(note["actor"])))
            except (ValueError, KeyError, TypeError):
                raise JournalError(
                    f"{path}: is no note of a claim", "delete it, and release the issue by hand"
                ) from None
        return found

    def _path(self, issue_id: str) -> Path:
        return self._folder / f"{quote(issue_id, safe='')}.json"


async def take_back(claims: Claims, deps: Deps) -> list[str]:
    """Give back what workers that are gone still hold in the tracker; returns the issues, to be gone on with first.

    A worker is gone when it left a note (see above), or when the assignee of an unfinished run names a process of this
    machine that no longer lives. Finished work stays claimed until somebody has merged it.
    """
    gone = dict(claims.all())
    for run in await deps.journal.runs(active=True):
        if run.issue.id not in gone and (actor := await _dead_assignee(run.issue.id, deps)):
            gone[run.issue.id] = actor
    freed = []
    for issue_id, actor in gone.items():
        latest = await deps.journal.runs(issue=issue_id, limit=1)
        if not (latest and latest[0].status == "done") and await _release(issue_id, actor, deps):
            freed.append(issue_id)
        claims.cross_out(issue_id)
    return freed


async def _release(issue_id: str, actor: str, deps: Deps) -> bool:
    try:
        issue = await deps.tracker.get(issue_id)
    except IssueNotFound:
        return False
    if issue.assignee != actor:
        return False
    known = await unfinished(issue_id, deps)
    rest = f"{known.id} goes on where it stopped; nothing is paid twice." if known else "No work was lost."
    await deps.tracker.release(issue_id, f"harness: its worker ({actor}) is gone. {rest}", actor)
    return True


async def _dead_assignee(issue_id: str, deps: Deps) -> str | None:
    try:
        assignee = (await deps.tracker.get(issue_id)).assignee or ""
    except IssueNotFound:
        return None
    return assignee if is_dead(assignee) else None


def is_dead(actor: str) -> bool:
    """Whether an actor is a process of this machine that no longer lives; False where that cannot be known."""
    host, _, process = actor.removeprefix("harness@").rpartition(":")
    number = process.partition("-")[0]
    if not actor.startswith("harness@") or host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
