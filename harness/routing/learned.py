"""What past outcomes say of an issue: the tier whose expected cost, escalation included, is lowest."""

from __future__ import annotations

from pathlib import Path

from harness.config.settings import Settings
from harness.protocols import Considered, Opinion
from harness.types import Issue


class LearnedStrategy:
    """A strategy fed by the outcomes stored in `state`; silent until there is evidence."""

    name = "learned"

    def __init__(self, state: Path, settings: Settings) -> None:
        self._state, self._settings = state, settings

    def consider(self, issue: Issue, start: Opinion | None = None) -> Considered:
        """The past's opinion; `start` is what a rule said, and None stands for the default tier."""
        raise NotImplementedError
