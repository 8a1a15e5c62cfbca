"""Tasks on many machines: DBOS on PostgreSQL keeps the queue, workers serve it, git carries the commits.

This is the scheduler's side. It puts one workflow per task into the queue, waits for its result, and never runs a task
itself; the graph of tasks stays outside DBOS, in the engine and its journal. `serving.py` is the worker's side and
docs/many-machines.md the whole picture.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import psycopg
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer
from dbos import error as dbos_error
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import OperationalError

from harness import errors
from harness.backends.database import Database, DatabaseDown
from harness.backends.leases import Leases
from harness.backends.steps import forget_steps
from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import ConfigError, HarnessError
from harness.protocols import Emit
from harness.redact import redact, redact_json, register
from harness.spans import Spans
from harness.types import Budget, Job, TaskResult, Usage
from harness.workspace import GitWorkspace
from harness.workspace.exchange import Exchange

log = logging.getLogger(__name__)

JOBS_VERSION = "harness-jobs-2"
"""Application version, pinned: workers take only tasks whose form they know. Changes with Job and TaskResult."""
WORKFLOW = "harness_task"
POLL_SECONDS = 0.5
TROUBLES = {
    kind.__name__: kind
    for kind in (
        errors.BudgetExceeded, errors.Interrupted, errors.MissingTool, errors.ModelAuthError, errors.ModelError,
        errors.ModelNonsense, errors.ModelRequestError, errors.ModelUnavailable, errors.SandboxError,
    )
}  # fmt: skip
"""What a worker may meet that is not its task's fault, and that the scheduler has to meet as the same kind."""
NOBODY_SECONDS = 30.0
"""How often a scheduler says that it waits and no worker is there."""


class DbosBackend:
    """Hands jobs to whichever worker is free; idempotent by `(run_id, job.key)` through the workflow's id."""

    def __init__(
        self,
        client: DBOSClient,
        database: Database,
        space: GitWorkspace,
        exchange: Exchange,
        capacity: int,
        emit: Emit,
        spans: Spans | None = None,
    ) -> None:
        self.capacity = capacity
        self._emit, self._spans = emit, spans or Spans()
        self.queue = queue_of(exchange)
        self._client, self._database, self._leases = client, database, Leases(database)
        self._space, self._exchange = space, exchange
        self._sent: set[str] = set()
        self._done: set[str] = set()

    @classmethod
    async def start(
        cls,
        settings: Settings,
        do: Callable[[Job, Meter], Awaitable[TaskResult]] | None = None,
        emit: Emit = lambda event: None,
        spans: Spans | None = None,
    ) -> DbosBackend:
        """The scheduler's side for `settings.database`; `do` is the workers' business, `emit` gets what they tell, and
        their spans are put below the one of `spans` in which a job was asked for.

        Raises ConfigError without a database, HarnessError when it cannot be reached, GitError without a remote.
        """
        url = database_of(settings)
        space = await GitWorkspace.open(settings.root)
        exchange = space.exchange(settings.exchange)
        database = Database(url)
        await database.prepare()
        await anyio.to_thread.run_sync(migrate, url)
        client = await anyio.to_thread.run_sync(client_of, url)
        return cls(client, database, space, exchange, settings.max_parallel, emit, spans)

    async def run(self, job: Job, meter: Meter) -> TaskResult:
        """The job's result, with its commit in this repository; asking again while it runs, or later, is safe."""
        workflow = workflow_of(self._exchange, job)
        await self._offer(job)
        bounded = job.model_copy(update={"budget": _smaller(job.budget, meter.left())})
        payload = {"job": redact_json(bounded.model_dump(mode="json")), "trace": self._spans.carrier()}
        await anyio.to_thread.run_sync(self._enqueue, workflow, payload)
        told = Meter(parent=meter, name="told")
        answer = await self._answer(workflow, job, told)
        if answer is None:
            # Its steps stay: whoever asks for it again does not pay again for what it had.
            await self._client.delete_workflow_async(workflow)
            return TaskResult(
                task_id=job.task.id,
                status="failed",
                error="given up: it outlived one worker after another without getting on, or was cancelled",
                round=job.round,
            )
        if "trouble" in answer:
            # Not the task's end: the same call later must find no answer and ask again.
            await self._client.delete_workflow_async(workflow)
            raise trouble_from(answer["trouble"])
        result = TaskResult.model_validate(answer["result"])
        if result.commit is not None:
            await self._collect(job, result.commit)
        await self._forget(job)
        told.add(result.usage - told.usage)
        return result

    async def aclose(self) -> None:
        """Let go of the database; refs of finished tasks are removed from the remote, as far as it can be reached."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(20):
                await self._exchange.drop(*sorted(self._done))
            await self._database.aclose()
            await anyio.to_thread.run_sync(self._client.destroy)

    async def _forget(self, job: Job) -> None:
        """Its steps have done their service: the result stands in DBOS's own table now."""
        try:
            await forget_steps(self._database, self._exchange.project, job.run_id, job.key)
        except (psycopg.OperationalError, DatabaseDown) as error:
            log.debug("steps of %s are left to the next tidying: %s", job.key, error)

    async def _offer(self, job: Job) -> None:
        """The commit that the work starts from, where workers find it."""
        ref = base_ref(job)
        if ref not in self._sent:
            if not await self._exchange.send(job.base, ref, await self._exchange.look(ref)):
                raise errors.GitError(
                    f"{ref} is being changed by somebody else", "is the same run under way elsewhere?"
                )
            self._sent.add(ref)

    def _enqueue(self, workflow: str, payload: Any) -> None:
        self._client.enqueue(
            {"workflow_name": WORKFLOW, "queue_name": self.queue, "workflow_id": workflow, "app_version": JOBS_VERSION},
            payload,
        )

    async def _answer(self, workflow: str, job: Job, told: Meter) -> dict[str, Any] | None:
        """The worker's answer; None when the workflow was cancelled. What it tells to have used is on `told` at once,
        so that budgets and whoever waits for a first reply know before the task's end."""
        handle: Any = await self._client.retrieve_workflow_async(workflow)
        answer: dict[str, Any] | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._complain_when_alone)
            group.start_soon(self._listen, job, told)
            try:
                answer = await handle.get_result(polling_interval_sec=POLL_SECONDS)
            except dbos_error.DBOSAwaitedWorkflowCancelledError:
                pass
            group.cancel_scope.cancel()
        await self._relay(job, told)
        return answer

    async def _listen(self, job: Job, told: Meter) -> None:
        while True:
            await anyio.sleep(POLL_SECONDS)
            await self._relay(job, told)

    async def _relay(self, job: Job, told: Meter) -> None:
        """Pass on what the task's worker has told; without the database it comes later, or is missed."""
        try:
            for event in await self._leases.heard(self._exchange.project, job.run_id, job.task.id):
                told.add(Usage.model_validate(event.data.get("usage", {})))
                self._emit(event)
        except (psycopg.OperationalError, DatabaseDown) as error:
            log.debug("cannot hear the workers: %s", error)

    async def _complain_when_alone(self) -> None:
        while True:
            await anyio.sleep(NOBODY_SECONDS)
            try:
                if not await self._leases.living(self.queue):
                    log.warning("waiting: no worker serves this repository; start one: harness worker --database URL")
            except (psycopg.OperationalError, DatabaseDown) as error:
                log.warning("waiting for the database: %s", error)

    async def _collect(self, job: Job, commit: str) -> None:
        ref = result_ref(job)
        await self._exchange.bring(commit, ref)
        await self._space.keep(f"harness/{job.run_id}/{job.task.id}", commit)
        self._done.add(ref)


async def forget_run(settings: Settings, run_id: str) -> None:
    """Delete what database and remote hold of a run: tasks, results, steps with their files, events, refs."""
    url = database_of(settings)
    exchange = (await GitWorkspace.open(settings.root)).exchange(settings.exchange)
    database, client = Database(url), None
    try:
        await database.prepare()
        await anyio.to_thread.run_sync(migrate, url)
        client = await anyio.to_thread.run_sync(client_of, url)
        start = f"{exchange.project}/{run_id}/"
        held = await client.list_workflows_async(workflow_id_prefix=start, load_input=False, load_output=False)
        if held:
            await client.delete_workflows_async([item.workflow_id for item in held])
        await forget_steps(database, exchange.project, run_id)
        await database.do("DELETE FROM harness.events WHERE project = %s AND run = %s", exchange.project, run_id)
        await database.do("DELETE FROM harness.takeovers WHERE starts_with(workflow, %s)", start)
        await exchange.drop(*await exchange.refs(Exchange.ref(run_id)))
    finally:
        await database.aclose()
        if client is not None:
            await anyio.to_thread.run_sync(client.destroy)


def queue_of(exchange: Exchange) -> str:
    """One queue a repository and form of job: its workers have its clone and know that form."""
    return f"{JOBS_VERSION}-{exchange.project}"


def workflow_of(exchange: Exchange, job: Job) -> str:
    """One workflow a task: `project/run/execute/task`."""
    return f"{exchange.project}/{job.run_id}/{job.key}"


def base_ref(job: Job) -> str:
    return Exchange.ref(job.run_id, "from", job.base[:20])


def result_ref(job: Job) -> str:
    return Exchange.ref(job.run_id, "task", job.task.id, str(job.round))


def database_of(settings: Settings) -> str:
    """The PostgreSQL URL; raises ConfigError when there is none."""
    if settings.database is None:
        cure = "export HARNESS_DATABASE_URL=postgresql://user@host/name, or pass --database, or set `database:`"
        raise ConfigError(settings.source, ("database",), "backend 'dbos' needs a PostgreSQL URL", cure)
    url = settings.database.get_secret_value()
    cure = "write it as postgresql://user@host/name, or postgresql:///name?service=SERVICE"
    try:
        told = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        problem = f"is no PostgreSQL URL: {redact(str(error)).strip()}"
        raise ConfigError(settings.source, ("database",), problem, cure) from None
    register([str(told["password"])] if told.get("password") else [])
    # PostgreSQL's own client would guess the rest; what DBOS reads has to be there.
    if not url.startswith(("postgresql://", "postgres://")) or not told.get("dbname"):
        raise ConfigError(settings.source, ("database",), "is no URL that names a database", cure)
    return url


def client_of(url: str) -> DBOSClient:
    return DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer(), retry_connection_errors=True)


def migrate(url: str) -> None:
    """Bring DBOS's own tables to the version that this DBOS needs."""
    try:
        DBOS.migrate(url)
    except OperationalError as error:
        raise DatabaseDown(f"cannot reach the database: {str(error.orig).splitlines()[0]}") from None


def trouble_as_data(error: HarnessError) -> dict[str, Any]:
    """A reason to stop that is not the task's own, as JSON."""
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}


def trouble_from(data: dict[str, Any]) -> HarnessError:
    """The error that a worker met, as the same kind here."""
    kind = TROUBLES.get(str(data["kind"]), HarnessError)
    return kind(data["message"], data["hint"])


def _smaller(own: Budget, left: Budget) -> Budget:
    """What the task may use and the run still has: a worker elsewhere cannot ask."""
    bounds = {name: [value for value in (getattr(own, name), getattr(left, name)) if value is not None] for name in
              Budget.model_fields}  # fmt: skip
    return Budget(**{name: min(values, default=None) for name, values in bounds.items()})
