"""Which tracker a repository uses, by what lies in it."""

from __future__ import annotations

import shutil

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
