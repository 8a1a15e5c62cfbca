"""Git objects as bytes: what one clone has and another needs, without a remote between them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import anyio.to_thread

from harness.errors import GitError
from harness.workspace.door import Door

PACK_BYTES = 256 << 20
"""More than this is no work on a source tree, but something built or downloaded."""


class Packs:
    """Packs objects of one clone and unpacks those of others."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def has(self, name: str) -> bool:
        """Whether an object is here."""
        return (await self._door.run("cat-file", "-e", name, ok=(0, 1, 128))).ok

    async def pack(self, names: Iterable[str], without: Iterable[str]) -> bytes:
        """The objects and all that they lead to, less what `without` (commits or trees) leads to.

        Raises GitError where that is more than PACK_BYTES.
        """
        # A tree that is excluded counts for its content only when it is named itself, beside its commit.
        excluded = [line for name in without for line in (f"^{name}", f"^{name}^{{tree}}")]
        with tempfile.TemporaryDirectory(prefix="harness-pack-") as folder:
            told = "\n".join([*names, *excluded, ""]).encode()
            await self._door.run("pack-objects", "--revs", "--quiet", f"{folder}/out", stdin=told)
            return await anyio.to_thread.run_sync(_read, Path(folder))

    async def unpack(self, pack: bytes) -> None:
        """Have the pack's objects here."""
        await self._door.run("unpack-objects", "-q", stdin=pack)


def _read(folder: Path) -> bytes:
    (made,) = folder.glob("*.pack")
    size = made.stat().st_size
    if size > PACK_BYTES:
        raise GitError(
            f"a task left {size >> 20} MB of new files in its worktree, more than machines hand over",
            "name what is built or downloaded in .gitignore",
        )
    return made.read_bytes()
