"""Run → experiment records: every attempt at every task, with what it was asked, what it cost and how it ended."""

from __future__ import annotations

from pathlib import Path

from harness.config.settings import Settings
from harness.types import Run


async def record(run: Run, settings: Settings) -> int:
    """Store a record of every attempt of the run in `settings.state`; returns how many.

    Call it whenever a run ends, however it ends, and again after a resume: a run's earlier records are replaced, so
    nothing is counted twice. Texts are redacted; with `settings.content` false none is stored.
    """
    raise NotImplementedError


def forget(run_id: str, state: Path) -> int:
    """Delete all records of a run; returns how many there were."""
    raise NotImplementedError
