"""Tasks on this machine, in this process, on one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from harness.budget import Meter
from harness.config.settings import Settings
from harness.protocols import Emit
from harness.spans import Spans
from harness.types import Job, TaskResult

Do = Callable[[Job, Meter], Awaitable[TaskResult]]


class LocalBackend:
    """Runs jobs through `do`, at most `capacity` at a time over all runs of this process."""

    def __init__(self, do: Do, capacity: int) -> None:
        self.capacity = capacity
        self._do = do
        self._places = anyio.CapacityLimiter(capacity)

    @classmethod
    async def start(
        cls, settings: Settings, do: Do, emit: Emit | None = None, spans: Spans | None = None
    ) -> LocalBackend:
        """The backend that the settings ask for; its jobs tell what happens by themselves."""
        return cls(do, settings.max_parallel)

    async def run(self, job: Job, meter: Meter) -> TaskResult:
        async with self._places:
            return await self._do(job, meter)

    async def aclose(self) -> None:
        """Nothing to let go of: every job is awaited by its run."""
