"""Worktrees on disk: their names, their removal, and what a task may have left in them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread

from harness.errors import GitError
from harness.workspace.door import At, Door
from harness.workspace.locks import let_go, try_lock

NAME_CHARS = 80
INDEX = "harness-index"
"""The index of snapshots and commits; the worktree's own stays as checked out, for whoever says `git diff` there."""


def flat_name(name: str) -> str:
    """A name as one path component that any file system takes; different names stay different."""
    safe = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", name).strip("-.")
    if safe and safe == name and len(name) <= NAME_CHARS and not name.lower().endswith(".lock"):
        return name
    return f"{safe[: NAME_CHARS - 9].rstrip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def branch_name(name: str) -> str:
    """A branch name that git accepts (git-check-ref-format), slashes kept; different names stay different."""
    return "/".join(flat_name(part) for part in name.split("/") if part)


def remove_tree(path: Path) -> None:
    """Delete a folder and all in it, write-protected or not; symlinks are deleted, never followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=_unprotect)


def disarm(path: Path) -> list[Path]:
    """Remove every `.git` below the top of a worktree, and make folders readable; returns what was removed.

    A nested repository's configuration can run programs when git looks inside. Its files stay: they become plain
    content of the worktree, which is also what somebody wants whose scaffolding tool ran `git init`.
    """
    if not path.is_dir() or path.is_symlink():
        raise GitError(f"the worktree {path} is gone")
    removed = []
    for folder, folders, files in os.walk(path, onerror=None):
        here = Path(folder)
        for name in folders:
            _open_up(here / name)
        for name in [name for name in (*folders, *files) if name.lower() == ".git" and here != path]:
            remove_tree(here / name)
            removed.append(here / name)
            if name in folders:
                folders.remove(name)
    return removed


def unlock_files(path: Path) -> None:
    """Give the owner read and write permission on all plain files; modes that git tracks stay."""
    for folder, _, files in os.walk(path):
        for name in files:
            file = Path(folder) / name
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o600 != 0o600:
                file.chmod(mode | 0o600)


def _open_up(folder: Path) -> None:
    mode = folder.lstat().st_mode
    if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
        folder.chmod(mode | 0o700)


def _unprotect(function: Callable[..., Any], name: str, problem: Any) -> None:
    if isinstance(problem[1], FileNotFoundError):
        return
    parent = Path(name).parent
    parent.chmod(parent.stat().st_mode | 0o700)
    if function in (os.scandir, os.open, os.listdir) and not Path(name).is_symlink():
        Path(name).chmod(0o700)
        shutil.rmtree(name, onerror=_unprotect)
    else:
        function(name)


class Worktrees:
    """The worktrees of one door: added, read, set back and removed."""

    def __init__(self, door: Door, home: Path) -> None:
        self._door, self.home = door, home

    def path_of(self, name: str) -> Path:
        return self.home / flat_name(name)

    def lock_of(self, name: str) -> Path:
        """Held by whoever uses the worktree; free after a crash."""
        return self._door.path / "locks" / flat_name(name)

    async def add(self, name: str, commit: str) -> Path:
        """A fresh checkout of `commit`, whatever was there before."""
        path, entry = self.path_of(name), self._entry(name)
        await self.remove(name)
        self.home.mkdir(parents=True, exist_ok=True)
        async with self._door.locked():
            await self._door.run("worktree", "add", "--quiet", "--detach", "--no-checkout", str(path), commit)
        # Outside the lock: writing the files is the long part, and it touches nothing shared.
        await self._door.run("reset", "--hard", "--quiet", commit, at=At(entry, path))
        await anyio.to_thread.run_sync(shutil.copyfile, entry / "index", entry / INDEX)
        return path

    async def remove(self, name: str) -> None:
        """Delete the worktree and its entry, if there."""
        path, entry = self.path_of(name), self._entry(name)
        if path.exists() or path.is_symlink():
            await anyio.to_thread.run_sync(remove_tree, path)
        if entry.exists():
            async with self._door.locked():
                await anyio.to_thread.run_sync(remove_tree, entry)

    async def sweep(self) -> list[str]:
        """Remove what no living process holds; returns the flat names."""
        here = {
            folder.name
            for place in (self.home, self._door.path / "worktrees")
            if place.is_dir()
            for folder in place.iterdir()
        }
        swept = []
        for name in sorted(here):
            handle = try_lock(self.lock_of(name))
            if handle is not None:
                try:
                    await self.remove(name)
                    swept.append(name)
                finally:
                    let_go(self.lock_of(name), handle)
        return swept

    async def snapshot(self, path: Path) -> str:
        """The content as a tree object."""
        await self._stage(path)
        return await self._door.text("write-tree", at=self._on(path))

    async def restore(self, path: Path, tree: str) -> None:
        """The content made that tree. What is there is staged first, so that git knows all that has to go."""
        await self._stage(path)
        await self._door.run("read-tree", "--reset", "-u", tree, at=self._on(path))

    async def _stage(self, path: Path) -> None:
        await anyio.to_thread.run_sync(disarm, path)
        added = await self._door.run("add", "--all", "--", ".", ok=(0, 1, 128), at=self._on(path))
        if not added.ok:
            await anyio.to_thread.run_sync(unlock_files, path)
            await self._door.run("add", "--all", "--", ".", at=self._on(path))

    def _on(self, path: Path) -> At:
        entry = self._entry(path.name)
        return At(entry, path, entry / INDEX)

    def _entry(self, name: str) -> Path:
        """The worktree's own git directory, out of the reach of what runs in the worktree."""
        return self._door.path / "worktrees" / flat_name(name)
