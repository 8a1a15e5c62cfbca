"""A worker machine: takes tasks from the queue, does them in its own clone, pushes the commit, reports.

DBOS calls the workflow on a thread of its own; the work itself runs on this program's event loop, where its locks and
its model client live. A task's workflow has no DBOS steps inside, which go by the order of calls: what a half-done task
has paid for stands in a table of ours under names (`steps.py`), for whichever worker goes on with it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

from harness.backends.database import Database, DatabaseDown
from harness.backends.dbos import (
    JOBS_VERSION,
    WORKFLOW,
    base_ref,
    client_of,
    migrate,
    queue_of,
    result_ref,
    trouble_as_data,
)
from harness.backends.leases import Leases
from harness.backends.steps import JobSteps, LeaseLost
from harness.budget import Meter
from harness.errors import HarnessError
from harness.protocols import Steps
from harness.redact import redact_json
from harness.spans import ISSUE, RUN, TASK, Spans
from harness.types import Event, Job, TaskResult
from harness.workspace.exchange import Exchange

log = logging.getLogger(__name__)

MAX_TAKEOVERS = 10
"""A task that has outlived this many workers without getting on is given up: it may be what kills them."""
KEPT_DAYS = 30.0
"""How long the database keeps the results of finished tasks; an older run that is resumed does its tasks again."""
EVENTS_KEPT = 10_000
"""While the database is away; older ones are dropped."""
SAFETY = 0.75
"""The part of its lease after which a worker that could not renew it stops by itself, before others take over."""

Do = Callable[[Job, Meter, Steps], Awaitable[TaskResult]]
"""Does a job, and records what it pays for in the steps it is given."""


@dataclass
class Worker:
    """One process that serves a repository's queue until cancelled."""

    url: str
    exchange: Exchange
    slots: int = 4
    lease_seconds: float = 60.0
    poll_seconds: float = 0.5
    max_takeovers: int = MAX_TAKEOVERS
    spans: Spans = field(default_factory=Spans)
    _heard: list[Event] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")

    async def serve(self, do: Do, ready: Callable[[str], None] = lambda name: None) -> None:
        """Do the queue's tasks with `do` until cancelled; what is under way then goes back to the queue.

        `ready` is told the worker's name once it serves.

        Raises LeaseLost when the database was out of reach for too long: others have the tasks by then.
        """
        self._do, self._loop = do, asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._database, self._queue = Database(self.url), queue_of(self.exchange)
        self._leases = Leases(self._database)
        await self._database.prepare()
        await anyio.to_thread.run_sync(migrate, self.url)
        client = await anyio.to_thread.run_sync(client_of, self.url)
        await self._leases.begin(self.name, self._queue, self.slots, self.lease_seconds)
        try:
            await anyio.to_thread.run_sync(self._launch)
            ready(self.name)
            await tidy(client, self._database, self._queue)
            async with anyio.create_task_group() as group:
                group.start_soon(self._take_over, client)
                group.start_soon(self._tell)
                lost = await self._keep_lease()
                group.cancel_scope.cancel()
            raise lost
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(client)

    def note(self, event: Event) -> None:
        """Tell the scheduler what happened, soon; never waits. Events of no task are this machine's own business."""
        if event.task_id is not None:
            self._heard.append(event)

    async def _tell(self) -> None:
        while True:
            await anyio.sleep(self.poll_seconds)
            await self._tell_now()

    async def _tell_now(self) -> None:
        events, self._heard = self._heard, []
        try:
            if events:
                await self._leases.tell(self.exchange.project, events)
        except (psycopg.OperationalError, DatabaseDown) as error:
            self._heard = [*events, *self._heard][-EVENTS_KEPT:]
            log.debug("cannot tell the scheduler: %s", error)

    def _launch(self) -> None:
        DBOS(
            config={
                "name": "harness",
                "system_database_url": self.url,
                "application_version": JOBS_VERSION,
                "executor_id": self.name,
                "serializer": DBOSPortableJSONSerializer(),
                "console_log_level": "WARNING",
            }
        )

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def task(payload: dict[str, Any]) -> dict[str, Any]:
            return self._workflow(payload)

        DBOS.listen_queues([self._queue])
        DBOS.launch()
        DBOS.register_queue(
            self._queue,
            worker_concurrency=self.slots,
            polling_interval_sec=self.poll_seconds,
            on_conflict="always_update",
        )

    def _workflow(self, payload: dict[str, Any]) -> dict[str, Any]:
        """On a thread of DBOS."""
        if self._closing:
            raise _Stopped
        try:
            return asyncio.run_coroutine_threadsafe(self._tracked(payload), self._loop).result()
        except concurrent.futures.CancelledError:
            raise _Stopped from None

    async def _tracked(self, payload: dict[str, Any]) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self._work(payload)
        finally:
            self._tasks.discard(task)

    async def _work(self, payload: dict[str, Any]) -> dict[str, Any]:
        job = Job.model_validate(payload["job"])
        names = {RUN: job.run_id, ISSUE: job.issue_id, TASK: job.task.id, "harness.worker": self.name}
        try:
            with self.spans.span("worker", names, parent=payload["trace"]):
                result = await self._done(job)
        except HarnessError as trouble:
            return {"trouble": redact_json(trouble_as_data(trouble))}
        return {"result": redact_json(result.model_dump(mode="json"))}

    async def _done(self, job: Job) -> TaskResult:
        """The job's result, its commit pushed; a predecessor's, where it was killed before it could report."""
        steps = JobSteps(self._database, self.exchange.packs, self.exchange.project, job, self.name)
        before = await self.exchange.look(result_ref(job))
        await self.exchange.bring(job.base, base_ref(job))
        result = await self._do(job, Meter(job.budget, name="task"), steps)
        if result.commit is not None:
            await self._publish(job, result.commit, before)
        await self._tell_now()
        return result

    async def _publish(self, job: Job, commit: str, before: str | None) -> None:
        """Push before reporting: whoever reads the result must find the commit."""
        for _ in range(3):
            if not await self._leases.holds(self.name):
                raise LeaseLost(f"{job.task.id} is another worker's now")
            if await self.exchange.send(commit, result_ref(job), before):
                return
            # Only a worker that has lost its lease can have been there; ours is good, so ours counts.
            before = await self.exchange.look(result_ref(job))
        raise HarnessError(f"{result_ref(job)} keeps being changed by somebody else")

    async def _keep_lease(self) -> LeaseLost:
        """Renew it for as long as that works; then stop all tasks and return why."""
        last = time.monotonic()
        while True:
            await anyio.sleep(self.lease_seconds / 6)
            began = time.monotonic()
            try:
                with anyio.fail_after(self.lease_seconds / 4):
                    if not await self._leases.renew(self.name):
                        await self._abandon()
                        message = f"worker {self.name} was silent for too long; its tasks were given to others"
                        return LeaseLost(message, "start it again: harness worker …")
                last = began
            except (psycopg.OperationalError, DatabaseDown, TimeoutError) as error:
                log.warning("cannot renew the lease: %s", error or "the database does not answer")
            if time.monotonic() - last > self.lease_seconds * SAFETY:
                await self._abandon()
                message = f"worker {self.name} cannot reach the database and has stopped its tasks"
                return LeaseLost(message, "start it again when the database is back")

    async def _take_over(self, client: DBOSClient) -> None:
        """Give the tasks of workers that died back to the queue."""
        while True:
            try:
                await give_back(client, self._leases, self._queue, self.max_takeovers)
            except (psycopg.OperationalError, DatabaseDown) as error:
                log.warning("cannot look for dead workers: %s", error)
            await anyio.sleep(self.lease_seconds / 4)

    async def _abandon(self) -> None:
        """Stop what is under way and wait until its process groups are dead."""
        self._closing = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=20)

    async def _stop(self, client: DBOSClient) -> None:
        await self._abandon()
        await anyio.to_thread.run_sync(DBOS.destroy)
        with anyio.move_on_after(10):
            try:
                await self._leases.end(self.name)
                await give_back(client, self._leases, self._queue, None)
            except (psycopg.OperationalError, DatabaseDown):
                pass  # the lease runs out by itself
        await self._database.aclose()
        await anyio.to_thread.run_sync(client.destroy)


class _Stopped(BaseException):
    """Ends a workflow's thread with neither result nor error: DBOS records errors only of class Exception."""


async def give_back(client: DBOSClient, leases: Leases, queue: str, at_most: int | None) -> list[str]:
    """Put every task whose worker is not alive into the queue again; returns their workflow ids.

    A task that has outlived more than `at_most` workers since its last recorded step is cancelled instead; None asks
    and counts nothing.
    """
    async with leases.alone() as bury:
        if bury is None:
            return []
        # Listed before it is asked who lives: who has a task in the list has been alive, however new.
        pending = await client.list_workflows_async(
            status="PENDING", queue_name=queue, load_input=False, load_output=False, app_version=JOBS_VERSION
        )
        alive = await bury()
        orphans = [item for item in pending if item.executor_id not in alive]
        for item in orphans:
            times = await leases.taken_over(item.workflow_id) if at_most is not None else 0
            if at_most is not None and times > at_most:
                log.warning("giving up %s: it has outlived %d workers without getting on", item.workflow_id, times)
                await client.cancel_workflow_async(item.workflow_id)
            else:
                log.warning("taking over %s from %s", item.workflow_id, item.executor_id)
                await client.resume_workflow_async(item.workflow_id, queue_name=queue)
    return [item.workflow_id for item in orphans]


async def tidy(client: DBOSClient, database: Database, queue: str, days: float = KEPT_DAYS) -> int:
    """Delete tasks that ended more than `days` ago, and what else is older; returns how many tasks."""
    for table in ("steps", "packs", "events", "takeovers"):
        await database.do(f"DELETE FROM harness.{table} WHERE at < now() - make_interval(secs => %s)", days * 86400)
    before = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    old = await client.list_workflows_async(
        queue_name=queue,
        status=["SUCCESS", "ERROR", "CANCELLED"],
        completed_before=before,
        limit=1000,
        load_input=False,
        load_output=False,
    )
    if old:
        await client.delete_workflows_async([item.workflow_id for item in old])
    return len(old)
