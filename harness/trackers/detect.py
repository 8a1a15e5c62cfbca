"""Which tracker a repository uses, by what lies in it, and where its Beads database is."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.config.reading import environment
from harness.config.settings import Settings

DATABASES = ("*.db", "metadata.json", "dolt", "embeddeddolt", "redirect")
"""What `bd init` leaves in `.beads/`, over its generations; Gas Town's clones hold a redirect to their rig's."""


def detect(settings: Settings) -> str:
    """`beads` where `bd` is installed and has a database here, or is told of one by `BEADS_DIR`; else `jsonl`."""
    if settings.tracker.path is not None or not shutil.which("bd"):
        return "jsonl"
    if environment().get("BEADS_DIR"):
        return "beads"
    initialised = any(True for pattern in DATABASES for _ in (settings.root / ".beads").glob(pattern))
    return "beads" if initialised else "jsonl"


def database(root: Path) -> Path:
    """The folder that `bd` works on from `root`, the same for all checkouts that share it.

    By bd's own rules: `BEADS_DIR`, else `.beads/redirect` (a path from the checkout), else, in a linked worktree, the
    main checkout's `.beads`, else this one's. Only the path is worked out; nothing need be there.
    """
    given = environment().get("BEADS_DIR")
    if given:
        return Path(given).resolve()
    redirect = root / ".beads" / "redirect"
    if redirect.is_file() and (target := redirect.read_text(encoding="utf-8").strip()):
        return (root / target).resolve()
    marker = root / ".git"
    if marker.is_file():
        git_dir = (root / marker.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        if git_dir.parent.name == "worktrees":
            return git_dir.parent.parent.parent / ".beads"
    return root.resolve() / ".beads"
