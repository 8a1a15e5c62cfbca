"""Time as the queue sees it: one place for waits, durations and the date, so that a test can bring its own."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

import anyio


class Clock:
    """The machine's own time."""

    seconds = staticmethod(time.monotonic)
    sleep = staticmethod(anyio.sleep)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def midnight(self) -> datetime:
        """When today began, where this machine is."""
        return self.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)

    def today(self) -> date:
        return self.midnight().date()
