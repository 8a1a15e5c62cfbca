"""One claimer at a time on this machine: an advisory lock on a folder, which leaves no file behind."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from harness.errors import TrackerError

_POLL = 0.02


@asynccontextmanager
async def held(folder: Path, timeout: float = 60.0) -> AsyncIterator[None]:
    """Hold `folder` against all other processes and tasks of this machine that ask here; freed when a holder dies.

    Raises TrackerError when there is no such folder, or when another holds it for `timeout` seconds.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TrackerError(f"{folder}: {error.strerror}", "is this the right repository? `bd init` makes one") from None
    try:
        await _acquire(handle, folder, timeout)
        yield
    finally:
        os.close(handle)


async def _acquire(handle: int, folder: Path, timeout: float) -> None:
    # Polled rather than waited for in a thread: a cancelled waiter must not take the lock after all.
    deadline = time.monotonic() + timeout
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise TrackerError(
                    f"cannot lock {folder}: {error.strerror}", "is it on a network file system?"
                ) from None
        if time.monotonic() > deadline:
            raise TrackerError(f"{folder} has been locked by another process for {timeout:g} s", "try again")
        await anyio.sleep(_POLL)
