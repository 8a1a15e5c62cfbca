"""The Deps of a real run, put together from settings: the heavy half of `registry`, loaded when something is run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TypeVar

import anyio
import anyio.to_thread

from harness import registry
from harness.budget import Meter
from harness.config.reading import environment
from harness.config.settings import Settings
from harness.config.tracing import tracing_wanted
from harness.errors import MissingTool, UnknownName
from harness.executors.command import preset
from harness.journal import SqliteJournal
from harness.models.genai import TracedModelClient
from harness.protocols import Deps, Emit, Executor, ModelClient, Workspace
from harness.redact import register_environment
from harness.routing.router import build_router
from harness.sandbox import Sandbox, detect, sweep_scratch
from harness.spans import Spans
from harness.types import Event, Job, TaskResult
from harness.worker import do_job
from harness.workspace import GitWorkspace

T = TypeVar("T")
Gate = Callable[[str], None]


class GatedJournal(SqliteJournal):
    """A journal that asks `gate` before each step that is not recorded yet: where a run may be stopped."""

    gate: Gate | None = None

    async def step(self, run_id: str, key: str, kind: type[T], make: Callable[[], Awaitable[T]]) -> T:
        async def gated() -> T:
            if self.gate is not None:
                self.gate(run_id)
            return await make()

        return await super().step(run_id, key, kind, gated)


@asynccontextmanager
async def assemble(settings: Settings, listeners: Sequence[Emit], gate: Gate | None) -> AsyncIterator[Deps]:
    """See `registry.build`."""
    async with AsyncExitStack() as stack:
        register_environment(environment())
        workspace = await GitWorkspace.open(settings.root)
        sandbox = await detect(settings.sandbox, settings.root)
        # What was killed could not clean up after itself; what anybody still uses is locked.
        await workspace.sweep()
        await anyio.to_thread.run_sync(sweep_scratch)
        prepare_state(settings)
        journal = GatedJournal(settings.state / "journal.db")
        stack.push_async_callback(journal.aclose)
        journal.gate = gate
        models = registry.find("model client", "harness.models.build:build_client", {})(settings)
        stack.push_async_callback(models.aclose)
        spans = tracing(settings)
        if spans.recording:
            stack.push_async_callback(_close, spans)
            models = TracedModelClient(models, spans)
        head = await workspace.resolve("HEAD")
        router = build_router(settings, tracked_files=frozenset(await workspace.files(head)))

        def emit(event: Event) -> None:
            journal.note(event)
            for listener in listeners:
                listener(event)

        parts = Deps(
            settings=settings,
            tracker=registry.tracker(settings),
            router=router,
            models=models,
            executors=executors(settings, models, sandbox, workspace),
            backend=Unstarted(),
            workspace=workspace,
            journal=journal,
            sandbox=sandbox,
            emit=emit,
            actor=registry.actor_name(),
            spans=spans,
        )
        backend = registry.find("backend", settings.backend, registry.BACKENDS)
        made = await backend.start(settings, lambda job, meter: do_job(job, parts, meter), emit, spans)
        stack.push_async_callback(made.aclose)
        yield replace(parts, backend=made)


def tracing(settings: Settings) -> Spans:
    """Spans for the collector that settings or the environment name, else such that nobody records.

    Raises MissingTool when they are asked for and the extra is not installed.
    """
    if not tracing_wanted(settings):
        return Spans()
    try:
        telemetry = import_module("harness.telemetry")
    except ModuleNotFoundError as error:
        asked = "tracing > enabled" if settings.tracing.enabled else "the environment (OTEL_EXPORTER_OTLP_ENDPOINT)"
        cure = "pip install 'beads-harness[otel]', or switch it off: tracing: {enabled: false}"
        raise MissingTool(f"{asked} asks for traces, and there is no {error.name}", cure) from None
    spans: Spans = telemetry.start(settings)
    return spans


async def _close(spans: Spans) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(spans.close)


class Unstarted:
    """Stands where the backend will be while the backend's own parts are put together: a job asks for no job."""

    capacity = 0

    async def run(self, job: Job, meter: Meter) -> TaskResult:
        raise AssertionError(f"{job.key} asked for another job")

    async def aclose(self) -> None: ...


def prepare_state(settings: Settings) -> None:
    """`.harness/`, which ignores itself so that nobody commits it."""
    settings.state.mkdir(parents=True, exist_ok=True)
    ignore = settings.state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def executors(
    settings: Settings, models: ModelClient, sandbox: Sandbox, workspace: Workspace
) -> Callable[[str], Executor]:
    """Executors by name, made when first asked for: one of the table, or a command preset."""

    @cache
    def make(name: str) -> Executor:
        if name == "tool_loop":
            loop: Executor = registry.find("executor", name, registry.EXECUTORS)(models, sandbox, workspace, settings)
            return loop
        command = preset(name, settings)
        if command is not None:
            agent: Executor = registry.find("executor", "command", registry.EXECUTORS)(name, command, sandbox, settings)
            return agent
        if name in registry.EXECUTORS or ":" in name:
            other: Executor = registry.find("executor", name, registry.EXECUTORS)(sandbox, settings)
            return other
        raise UnknownName("executor", name, {*registry.EXECUTORS, *settings.executors})

    return make
