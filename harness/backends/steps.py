"""What a task under way has done and paid for, where the next worker finds it: steps and their files in PostgreSQL.

A task's steps (a model's reply, what its tools did, an attempt, the result) are recorded as in a journal, under names,
before the work goes on. With a step go the git objects that it names, packed, in the same transaction: so a recorded
step is one that any machine can go on from. Each record is made only while the worker's lease holds, which the same
statement asks; whoever lost its tasks can add nothing to them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import psycopg
from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from pydantic import ValidationError

from harness.backends.database import Database, DatabaseDown
from harness.errors import HarnessError, JournalError
from harness.journal import adapter, dumped
from harness.types import Job, Value
from harness.workspace.packs import Packs

T = TypeVar("T")

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Between tries to record something while the database is away; the lease bounds them."""


class LeaseLost(HarnessError):
    """Others may have this worker's tasks by now; it has stopped them."""

    exit_code = 1


class JobSteps:
    """One job's steps, as one worker reads and records them; `Steps` of `harness.protocols`."""

    def __init__(self, database: Database, packs: Packs, project: str, job: Job, worker: str) -> None:
        self._database, self._packs = database, packs
        self._project, self._job, self._worker = project, job, worker
        self._there = [job.base]
        """Commits and trees that whoever goes on has already."""
        self._read = 0
        """Number of the last pack that was unpacked, or made, here."""

    async def look(self, run_id: str, key: str, kind: type[T]) -> T | None:
        """The recorded value, with the objects it names in this clone; or None."""
        rows = await self._database.do(
            "SELECT value FROM harness.steps WHERE project = %s AND run = %s AND key = %s", self._project, run_id, key
        )
        if not rows:
            return None
        try:
            value: T = adapter(kind).validate_json(rows[0][0])  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise JournalError(
                f"step '{key}' of run {run_id} was recorded by another version of harness: {first['msg']}",
                "let workers of that version finish it, or forget the run",
            ) from None
        await self._bring(_objects(value))
        return value

    async def step(self, run_id: str, key: str, kind: type[T], make: Callable[[], Awaitable[T]]) -> T:
        """The recorded value, or `make()`'s, recorded before it is returned.

        Raises LeaseLost when the task is another worker's by now.
        """
        recorded = await self.look(run_id, key, kind)
        if recorded is not None:
            return recorded
        value = await make()
        # What make() returned is paid for: a cancellation that arrives now should not lose it.
        with anyio.CancelScope(shield=True) as paid_for:
            if await self._record(run_id, key, dumped(kind, value), _objects(value), paid_for):
                return value
        others = await self.look(run_id, key, kind)
        if others is None:
            raise LeaseLost(f"{self._job.task.id} is another worker's now")
        return others

    async def _record(
        self, run_id: str, key: str, text: str, names: tuple[str, ...], shield: anyio.CancelScope
    ) -> bool:
        """Whether the value is recorded now; False when another one is, or the lease is lost. While the database is
        away this waits, and may be cancelled."""
        while True:
            try:
                new = [name for name in names if name not in self._there]
                pack = await self._packs.pack(new, self._there) if new else None
                async with self._database.transaction() as cursor:
                    if not await self._insert(cursor, run_id, key, text, pack):
                        return False
                self._there += new
                return True
            except (psycopg.OperationalError, DatabaseDown) as error:
                log.warning("cannot record %s of %s: %s", key, run_id, error)
                shield.shield = False
                await anyio.sleep(AGAIN_SECONDS)

    async def _insert(
        self, cursor: AsyncCursor[TupleRow], run_id: str, key: str, text: str, pack: bytes | None
    ) -> bool:
        await cursor.execute(
            "WITH mine AS (SELECT 1 FROM harness.workers WHERE worker = %s FOR SHARE)"
            " INSERT INTO harness.steps (project, run, key, value, worker) SELECT %s, %s, %s, %s, %s FROM mine"
            " ON CONFLICT DO NOTHING RETURNING 1",
            (self._worker, self._project, run_id, key, text, self._worker),
        )
        if not await cursor.fetchall():
            return False
        if pack is not None:
            await cursor.execute(
                "INSERT INTO harness.packs (project, run, job, pack) VALUES (%s, %s, %s, %s)",
                (self._project, run_id, self._job.key, pack),
            )
        return True

    async def _bring(self, names: tuple[str, ...]) -> None:
        """Have the objects in this clone, from the packs of whoever recorded them."""
        if all([name in self._there or await self._packs.has(name) for name in names]):
            self._there += [name for name in names if name not in self._there]
            return
        rows = await self._database.do(
            "SELECT number, pack FROM harness.packs WHERE project = %s AND run = %s AND job = %s AND number > %s"
            " ORDER BY number",
            self._project, self._job.run_id, self._job.key, self._read,
        )  # fmt: skip
        for number, pack in rows:
            await self._packs.unpack(bytes(pack))
            self._read = number
        self._there += names


async def forget_steps(database: Database, project: str, run_id: str, job: str | None = None) -> None:
    """Delete what is recorded of one job, or of all jobs of a run."""
    prefix = f"{job}/" if job is not None else ""
    async with database.transaction() as cursor:
        await cursor.execute(
            "DELETE FROM harness.steps WHERE project = %s AND run = %s AND starts_with(key, %s)",
            (project, run_id, prefix),
        )
        await cursor.execute(
            "DELETE FROM harness.packs WHERE project = %s AND run = %s AND (job = %s OR %s)",
            (project, run_id, job, job is None),
        )


def _objects(value: object) -> tuple[str, ...]:
    return value.objects if isinstance(value, Value) else ()
