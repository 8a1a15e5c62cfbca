"""Pipeline YAML → Pipeline.

    name: standard
    verify: [pytest -q]
    budget: {usd: 2}
    phases:
      1_planning: {model: sonnet, output: task_breakdown.md}
      2_execution: {model: haiku, parallel: true, tasks: [{name: Create component, file: src/lib/UserProfile.svelte}]}
      3_review: {model: opus, trigger: label:security OR complexity:complex}

Numeric prefixes order the phases; a phase's kind comes from its name unless `kind:` says it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field

from harness.config.reading import kind_of, read_mapping, validate
from harness.errors import ConfigError, UnknownName
from harness.shipped import shipped
from harness.types import Budget, Phase, Pipeline, Task, Value

KINDS = {
    "plan": "plan",
    "exec": "execute",
    "implement": "execute",
    "work": "execute",
    "review": "review",
    "audit": "review",
}
"""Beginning of a phase's name, without its number → its kind."""
ORDER = ("plan", "execute", "review")
"""The kinds of phases, as one follows the other."""


class _TaskEntry(Value):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    title: str = Field(validation_alias=AliasChoices("name", "title"), min_length=1)
    id: str | None = None
    instructions: str = ""
    file: str | None = None
    files: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    model: str | None = None


class _PhaseEntry(Value):
    kind: str | None = None
    model: str | None = None
    parallel: bool = True
    trigger: str | None = None
    tasks: tuple[_TaskEntry, ...] = ()
    output: str | None = None
    commit_output: bool = False
    executor: str | None = None
    max_tasks: int = Field(20, ge=1)
    max_rework: int = Field(2, ge=0)
    panel: tuple[str, ...] = ()


class _PipelineEntry(Value):
    name: str | None = None
    description: str = ""
    phases: dict[str, _PhaseEntry]
    verify: tuple[str, ...] = ()
    budget: Budget = Budget()


def load_pipeline(name: str, folders: Iterable[Path]) -> Pipeline:
    """A pipeline by file name or by name in one of `folders`; raises ConfigError or UnknownName."""
    return read_pipeline(find_pipeline(name, folders))


def find_pipeline(name: str, folders: Iterable[Path]) -> Path:
    """The file that a pipeline's name stands for, or that it is; raises UnknownName."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = known_pipelines(folders)
    if name not in known:
        raise UnknownName("pipeline", name, known, "write its file name (ending in .yaml), or add it to pipelines/")
    return known[name]


def known_pipelines(folders: Iterable[Path]) -> dict[str, Path]:
    """Names → files; an earlier folder wins over a later one, and all over the built-in ones."""
    found: dict[str, Path] = {}
    for folder in (*folders, shipped("pipelines")):
        for path in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
            found.setdefault(path.stem, path)
    return found


def read_pipeline(path: Path) -> Pipeline:
    """The pipeline in a file; raises ConfigError naming file, key path and cure."""
    where = str(path)
    data = dict(read_mapping(path))
    if isinstance(data.get("phases"), list):
        data["phases"] = _listed(data["phases"], where)
    if isinstance(data.get("phases"), dict):
        data["phases"] = {str(name): {} if said is None else said for name, said in data["phases"].items()}
    entry: _PipelineEntry = validate(_PipelineEntry, data, where)
    if not entry.phases:
        raise ConfigError(where, ("phases",), "is empty; a pipeline needs at least an execute phase")
    phases = tuple(_phase(name, entry.phases[name], where) for name in sorted(entry.phases, key=_order))
    _refuse_disorder(phases, where)
    return Pipeline(
        name=entry.name or path.stem,
        description=entry.description,
        phases=phases,
        verify=entry.verify,
        budget=entry.budget,
        source=where,
    )


def _refuse_disorder(phases: tuple[Phase, ...], where: str) -> None:
    """Plan once at most, execute once, review afterwards: another order would leave work out, or look at nothing."""
    if not any(phase.kind == "execute" for phase in phases):
        raise ConfigError(where, ("phases",), "no phase executes anything; add e.g. `2_execution: {model: haiku}`")
    for earlier, phase in itertools.pairwise(phases):
        if earlier.kind == phase.kind != "review":
            cure = "put its tasks into the first; `depends_on` orders them" if phase.kind == "execute" else "remove one"
            raise ConfigError(where, ("phases", phase.id), f"a second phase of the kind '{phase.kind}'", cure)
        if ORDER.index(earlier.kind) > ORDER.index(phase.kind):
            raise ConfigError(
                where,
                ("phases", phase.id),
                f"comes after '{earlier.id}', and {phase.kind} goes before {earlier.kind}",
                f"phases are taken in the order of their numbers: {', '.join(ORDER)}",
            )


def _listed(phases: list[Any], where: str) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, item in enumerate(phases, 1):
        if not isinstance(item, dict):
            raise ConfigError(where, ("phases", number - 1), f"expected a mapping, got {kind_of(item)}")
        rest = dict(item)
        name = rest.pop("id", None) or rest.pop("name", None) or rest.get("kind") or "phase"
        named[f"{number}_{name}"] = rest
    return named


def _order(name: str) -> tuple[int, str]:
    match = re.match(r"\d+", name)
    return (int(match[0]) if match else 1_000_000, name)


def _phase(name: str, entry: _PhaseEntry, where: str) -> Phase:
    path = ("phases", name)
    word = re.sub(r"^\d+[\W_]*", "", name).lower()
    kind = entry.kind or next((kind for start, kind in KINDS.items() if word.startswith(start)), None)
    if kind is None:
        raise ConfigError(
            where,
            path,
            f"cannot tell a kind from the name '{name}'",
            "add `kind: plan`, `kind: execute` or `kind: review`",
        )
    if kind not in ORDER:
        raise ConfigError(where, (*path, "kind"), str(UnknownName("phase kind", kind, ORDER)))
    if entry.trigger is not None and kind != "review":
        raise ConfigError(
            where,
            (*path, "trigger"),
            f"only a review has one, and this phase is '{kind}'",
            "remove it; a label pipeline:NAME, or a routing rule with `pipeline:`, chooses a pipeline by its issue",
        )
    if entry.tasks and kind != "execute":
        raise ConfigError(where, (*path, "tasks"), f"only an execute phase has tasks, and this one is '{kind}'")
    if entry.output is not None and Path(entry.output).name != entry.output:
        raise ConfigError(where, (*path, "output"), "is a file name in the run's folder, without slashes")
    return Phase(
        id=name,
        kind=kind,
        tier=entry.model,
        parallel=entry.parallel,
        trigger=entry.trigger,
        tasks=_tasks(entry.tasks, where, path),
        output=entry.output,
        commit_output=entry.commit_output,
        executor=entry.executor,
        max_tasks=entry.max_tasks,
        max_rework=entry.max_rework,
        panel=entry.panel,
    )


def _tasks(entries: tuple[_TaskEntry, ...], where: str, path: tuple[str, ...]) -> tuple[Task, ...]:
    tasks: list[Task] = []
    for number, entry in enumerate(entries):
        task_id = entry.id or slug(entry.title)
        if any(task.id == task_id for task in tasks):
            raise ConfigError(where, (*path, "tasks", number), f"a second task is called '{task_id}'; give it an `id:`")
        files = ((entry.file,) if entry.file else ()) + entry.files
        tasks.append(
            Task(
                id=task_id,
                title=entry.title,
                instructions=entry.instructions or entry.title,
                files=files,
                depends_on=entry.depends_on,
                verify=entry.verify,
                tier=entry.model,
            )
        )
    return tuple(tasks)


def slug(text: str, limit: int = 40) -> str:
    """Lower-case words joined by hyphens: fit for ids, branches and folders."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "task"
