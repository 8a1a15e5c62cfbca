"""Which tracker a repository uses, by what lies in it."""

from __future__ import annotations

import shutil

from harness.config.settings import Settings

DATABASES = ("*.db", "metadata.json", "dolt", "embeddeddolt")
"""What `bd init` leaves in `.beads/`, over its generations."""


def detect(settings: Settings) -> str:
    """`beads` where `.beads/` holds a database and `bd` is on PATH, else `jsonl`."""
    folder = settings.root / ".beads"
    initialised = any(True for pattern in DATABASES for _ in folder.glob(pattern))
    return "beads" if initialised and shutil.which("bd") else "jsonl"
