"""Who is alive: workers' heartbeats in PostgreSQL, how often a task outlived its worker, and what workers tell.

DBOS itself finds out that a worker is gone only when a worker of the same name comes back. So each worker keeps a row
here and renews it; whoever finds a row too old deletes it, and gives the dead worker's tasks back to the queue. A
worker whose row is gone has lost its tasks and must stop them. Times are the database's; no machine's clock matters.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from harness.backends.database import LOCK, Database
from harness.redact import redact_json
from harness.types import Event

Bury = Callable[[], Awaitable[set[str]]]


class Leases:
    """The table of living workers, how often each task outlived one, and what workers tell."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._do = database.do

    async def begin(self, worker: str, queue: str, slots: int, seconds: float) -> None:
        """A worker is here, before it takes its first task."""
        await self._do(
            "INSERT INTO harness.workers (worker, queue, slots, lease) VALUES (%s, %s, %s, make_interval(secs => %s))",
            worker, queue, slots, seconds,
        )  # fmt: skip

    async def renew(self, worker: str) -> bool:
        """A sign of life; False when the lease was lost before."""
        return bool(await self._do("UPDATE harness.workers SET seen = now() WHERE worker = %s RETURNING 1", worker))

    async def holds(self, worker: str) -> bool:
        """Whether the worker's tasks are still its own."""
        return bool(await self._do("SELECT 1 FROM harness.workers WHERE worker = %s", worker))

    async def end(self, worker: str) -> None:
        """An orderly farewell."""
        await self._do("DELETE FROM harness.workers WHERE worker = %s", worker)

    async def living(self, queue: str) -> int:
        """How many tasks of a queue can be under way at once, over all living workers."""
        rows = await self._do(
            "SELECT coalesce(sum(slots), 0) FROM harness.workers WHERE queue = %s AND seen > now() - lease", queue
        )
        return int(rows[0][0])

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Bury | None]:
        """Nobody else gives tasks away inside; None when somebody is at it.

        What it yields deletes the rows of workers that were silent too long, and tells who is left.
        """
        # A connection of its own: the worker's is needed for its signs of life meanwhile.
        database = self._database.another()
        try:
            async with database.transaction() as cursor:
                await cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,))
                locked = await cursor.fetchone()

                async def bury() -> set[str]:
                    await cursor.execute("DELETE FROM harness.workers WHERE seen < now() - lease")
                    await cursor.execute("SELECT worker FROM harness.workers")
                    return {row[0] for row in await cursor.fetchall()}

                yield bury if locked and locked[0] else None
        finally:
            with anyio.CancelScope(shield=True):
                await database.aclose()

    async def taken_over(self, workflow: str) -> int:
        """Count one more takeover of a task; returns how many there were since it last recorded a step."""
        rows = await self._do(
            "WITH got AS (SELECT count(*) AS steps FROM harness.steps"
            " WHERE starts_with(project || '/' || run || '/' || key, %s || '/'))"
            " INSERT INTO harness.takeovers (workflow, times, steps) SELECT %s, 1, steps FROM got"
            " ON CONFLICT (workflow) DO UPDATE SET steps = excluded.steps,"
            " times = CASE WHEN excluded.steps > takeovers.steps THEN 1 ELSE takeovers.times + 1 END RETURNING times",
            workflow, workflow,
        )  # fmt: skip
        return int(rows[0][0])

    async def tell(self, project: str, events: Sequence[Event]) -> None:
        """Leave what happened to tasks here for their scheduler."""
        rows = [(project, event.run_id, event.task_id or "", _redacted(event)) for event in events]
        async with self._database.transaction() as cursor:
            await cursor.executemany(
                "INSERT INTO harness.events (project, run, task, value) VALUES (%s, %s, %s, %s)", rows
            )

    async def heard(self, project: str, run: str, task: str) -> list[Event]:
        """What happened to a task since last asked, oldest first; told once."""
        rows = await self._do(
            "WITH told AS (DELETE FROM harness.events WHERE project = %s AND run = %s AND task = %s"
            " RETURNING number, value) SELECT value FROM told ORDER BY number",
            project, run, task,
        )  # fmt: skip
        return [Event.model_validate_json(row[0]) for row in rows]


def _redacted(event: Event) -> str:
    return json.dumps(redact_json(event.model_dump(mode="json")))
