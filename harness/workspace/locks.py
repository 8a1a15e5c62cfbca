"""Locks among processes: advisory, on files, let go of by whoever dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from harness.errors import GitError


@asynccontextmanager
async def file_lock(path: Path, busy: str = "", seconds: float = 120.0) -> AsyncIterator[None]:
    """Hold an advisory lock on a file, which is gone afterwards; a process that dies lets go of it.

    Raises GitError with the message `busy` when somebody else still holds it after `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up, pause = anyio.current_time() + seconds, 0.002
    while (handle := try_lock(path)) is None:
        if anyio.current_time() > give_up:
            raise GitError(busy or f"{path} is held by another harness process", "wait for it, or end it")
        await anyio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    try:
        yield
    finally:
        let_go(path, handle)


def try_lock(path: Path) -> int | None:
    """An open file with the lock on it, or None when somebody else holds it; closing it lets go."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have deleted the file between our opening and locking it: that lock keeps nobody out.
        if os.fstat(handle).st_ino == os.stat(path).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def let_go(path: Path, handle: int) -> None:
    """Delete a lock's file and close it, in this order: whoever locked it meanwhile sees that it is gone."""
    path.unlink(missing_ok=True)
    os.close(handle)
