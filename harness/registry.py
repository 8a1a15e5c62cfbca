"""Names → implementations, one visible table an axis; `package.module:Name` works in the same slot.

A table's value is where the implementation lives, so nothing is imported that was not chosen. `build` makes the Deps of
a repository from its settings; everything is handed its parts here and nowhere else.
"""

from __future__ import annotations

import importlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.pipelines import load_pipeline
from harness.config.settings import Settings
from harness.errors import ConfigError, PlanError, UnknownName, did_you_mean
from harness.shipped import shipped
from harness.trackers.detect import detect
from harness.types import Event, Phase, Pipeline, Plan

if TYPE_CHECKING:
    from harness.protocols import Deps, Tracker

TRACKERS = {
    "beads": "harness.trackers.beads:BeadsTracker",
    "jsonl": "harness.trackers.jsonl:JsonlTracker",
}
EXECUTORS = {
    "tool_loop": "harness.executors.tool_loop:ToolLoop",
    "claude_code": "harness.executors.claude_code:ClaudeCode",
    "command": "harness.executors.command:CommandExecutor",
}
BACKENDS = {
    "local": "harness.backends.local:LocalBackend",
    "dbos": "harness.backends.dbos:DbosBackend",
}


def find(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """The class or function that a name stands for; raises UnknownName or ConfigError."""
    target = name if ":" in name else table.get(name)
    if target is None:
        raise UnknownName(kind, name, table, f"or write package.module:Name for a {kind} of your own")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{kind} '{name}'", (), f"cannot import {error.name}", f"pip install {error.name}") from None
    except AttributeError:
        raise ConfigError(f"{kind} '{name}'", (), f"module {module} has no {attribute}") from None


def pipeline(name: str, settings: Settings) -> Pipeline:
    """A pipeline by name or file, its tiers, triggers, executors and own tasks checked; raises ConfigError."""
    loaded = load_pipeline(name, [settings.root / settings.pipelines])
    if Path(loaded.source).parent == shipped("pipelines"):
        loaded = _in_our_tiers(loaded, settings)
    for phase in loaded.phases:
        path: tuple[str, ...] = ("phases", phase.id)
        if phase.tier is not None and phase.tier not in settings.tiers:
            known = f"known: {', '.join(settings.tiers)}{did_you_mean(phase.tier, settings.tiers)}"
            raise ConfigError(loaded.source, (*path, "model"), f"no tier '{phase.tier}'; {known}")
        if phase.trigger is not None:
            find("trigger", "harness.routing.trigger:parse", {})(phase.trigger, loaded.source, (*path, "trigger"))
        if phase.executor is not None:
            known_executor(phase.executor, settings, loaded.source, (*path, "executor"))
        if phase.tasks:
            _check_tasks(phase, settings, loaded.source, (*path, "tasks"))
    return loaded


def _in_our_tiers(built_in: Pipeline, settings: Settings) -> Pipeline:
    phases = (phase.model_copy(update={"tier": phase.tier and settings.meant(phase.tier)}) for phase in built_in.phases)
    return built_in.model_copy(update={"phases": tuple(phases)})


def _check_tasks(phase: Phase, settings: Settings, where: str, path: tuple[str, ...]) -> None:
    """Raise ConfigError for tasks that are no valid plan, before an issue is claimed for them."""
    plan = Plan(summary="", tasks=phase.tasks)
    try:
        find("plan", "harness.graph:check_plan", {})(plan, (), len(phase.tasks), tuple(settings.tiers))
    except PlanError as error:
        raise ConfigError(where, path, "; ".join(error.problems)) from None


def known_executor(name: str, settings: Settings, where: str, path: tuple[str, ...]) -> None:
    """Raise ConfigError for an executor that there is not."""
    if ":" in name or name in settings.executors or (name in EXECUTORS and name != "command"):
        return
    presets = find("executor", "harness.executors.command:built_in_presets", {})()
    if name not in presets:
        known = {*EXECUTORS, *presets, *settings.executors} - {"command"}
        raise ConfigError(where, path, str(UnknownName("executor", name, known)))


def tracker(settings: Settings) -> Tracker:
    """The repository's tracker: `auto` takes Beads where `.beads/` has a database and `bd` is installed, else JSONL."""
    kind = settings.tracker.kind
    if kind == "auto":
        kind = detect(settings)
    made: Tracker = find("tracker", kind, TRACKERS)(settings)
    return made


def actor_name() -> str:
    """Who claims issues: unique to this process."""
    return f"harness@{socket.gethostname()}:{os.getpid()}-{secrets.token_hex(2)}"


@asynccontextmanager
async def build(
    settings: Settings, listeners: Iterable[Callable[[Event], None]] = (), gate: Callable[[str], None] | None = None
) -> AsyncIterator[Deps]:
    """Everything a run needs, closed afterwards.

    `listeners` hear every event besides the journal. `gate`, called with the run's id before each new step, may raise
    Interrupted: that is how the first Ctrl-C and `harness cancel` stop a run between steps and never inside one.
    """
    known_executor(settings.executor, settings, settings.source, ("executor",))
    async with find("assembly", "harness.assembly:assemble", {})(settings, tuple(listeners), gate) as deps:
        yield deps
