"""The Beads hooks in a repository: put in front of what is there, and taken away without a trace."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness import spool
from harness.errors import TrackerError
from harness.shipped import shipped

EVENTS = ("on_create", "on_update")
BEFORE = ".before-harness"
"""Suffix of the hook that was there first; ours runs it."""
MARK = b"# harness hook, version "
OWN_STATE = b"harness=${0%/*}/../../.harness"
"""The hook's line that says where the repository's state is."""


def install(root: Path, state: Path) -> list[Path]:
    """Put our hook at `.beads/hooks/on_create` and `on_update` and make the spool; returns the files that changed.

    A hook that is there is moved aside and run by ours. Raises TrackerError where there is no `.beads/`.
    """
    folder = _folder(root)
    text = (shipped("plugins") / "beads" / "hook.sh").read_bytes()
    if folder.parent != root / ".beads":  # redirected: from there, this repository is not two folders up
        text = text.replace(OWN_STATE, b"harness=" + shlex.quote(str(state.resolve())).encode())
    folder.mkdir(exist_ok=True)
    spool.folder(state).mkdir(parents=True, exist_ok=True)
    changed = []
    for event in EVENTS:
        path, before = folder / event, folder / (event + BEFORE)
        if _present(path) and not _is_ours(path):
            if _present(before):
                raise TrackerError(f"{path} and {before} both exist", "keep the one you want under the first name")
            path.rename(before)
        if not path.exists() or path.read_bytes() != text:
            path.write_bytes(text)
            path.chmod(0o755)
            changed.append(path)
    return changed


def remove(root: Path, state: Path) -> list[Path]:
    """Take our hooks and the spool away and put back what was there; returns the files that changed."""
    folder = _folder(root)
    changed = []
    for event in EVENTS:
        path, before = folder / event, folder / (event + BEFORE)
        if not _is_ours(path):
            continue
        if _present(before):
            before.replace(path)
        else:
            path.unlink()
        changed.append(path)
    spool.drain(spool.folder(state))
    if spool.folder(state).is_dir():
        spool.folder(state).rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return changed


def installed(root: Path) -> bool:
    """Whether all our hooks are in place."""
    return (root / ".beads").is_dir() and all(_is_ours(_folder(root) / event) for event in EVENTS)


def _folder(root: Path) -> Path:
    """Where bd looks for hooks: beside its database, which a `redirect` may have elsewhere (Gas Town's clones)."""
    beads = root / ".beads"
    if not beads.is_dir():
        raise TrackerError(f"no Beads database at {root}", "run `bd init` there first")
    redirect = beads / "redirect"
    if redirect.is_file():
        target = (root / redirect.read_text(encoding="utf-8").strip()).resolve()
        if not target.is_dir():
            raise TrackerError(f"{redirect} leads to {target}, which is no folder", "`gt doctor` repairs it")
        beads = target
    return beads / "hooks"


def _present(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and MARK in path.read_bytes()[:200]
