"""What is installed, what works, and the one command that fixes the rest: everything is tried, nothing guessed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import anyio.to_thread

from harness import proc, registry
from harness.config.reading import environment
from harness.config.settings import RoutePreference, Settings
from harness.errors import HarnessError
from harness.models.providers import NO_KEY, find_provider
from harness.protocols import Wanted
from harness.routing.preferences import best_classifier
from harness.sandbox import probe
from harness.shipped import shipped
from harness.trackers import gastown, hooks
from harness.types import Value
from harness.workspace.finding import cache_folder

State = Literal["works", "broken", "missing", "off"]
OLDEST_GIT = (2, 38)
"""The first with `git merge-tree --write-tree`."""
AGENTS = {
    "claude": "npm install -g @anthropic-ai/claude-code",
    "codex": "npm install -g @openai/codex",
    "opencode": "npm install -g opencode-ai",
}
"""Agents with a command line, and how each is installed."""

_SECONDS = 30.0


class Finding(Value):
    """One thing that was tried."""

    name: str
    state: State
    """`missing` and `off` are no trouble unless `needed`."""
    detail: str
    cure: str | None = None
    needed: bool = False

    @property
    def in_the_way(self) -> bool:
        """Whether the harness cannot work here because of it."""
        return self.state == "broken" or (self.needed and self.state != "works")


async def examine(settings: Settings) -> list[Finding]:
    """Try everything that the harness may use in this repository, side by side; in the order of their importance."""
    checks: tuple[Callable[[Settings], Awaitable[list[Finding]]], ...] = (
        _git, _folders, _sandbox, _tracker, _hooks, _models, _described_routes, _gastown, _agents, _plugin,
    )  # fmt: skip
    found: dict[int, list[Finding]] = {}

    async def one(number: int) -> None:
        found[number] = await checks[number](settings)

    async with anyio.create_task_group() as group:
        for number in range(len(checks)):
            group.start_soon(one, number)
    return [finding for number in sorted(found) for finding in found[number]]


async def _git(settings: Settings) -> list[Finding]:
    cure = "apt-get install git (2.38 or newer)"
    if shutil.which("git") is None:
        return [Finding(name="git", state="missing", detail="no git on PATH", cure=cure, needed=True)]
    text = await _said("git", "--version")
    numbers = re.search(r"(\d+)\.(\d+)", text)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_GIT:
        return [Finding(name="git", state="broken", detail=f"{text} is too old", cure=cure, needed=True)]
    if await _said("git", "-C", str(settings.root), "rev-parse", "--is-bare-repository") == "true":
        return [Finding(name="git", state="broken", detail=f"{text}, but {settings.root} is bare: it has no files",
                        needed=True, cure="git clone it, and go into the clone")]  # fmt: skip
    head = await proc.run(["git", "-C", str(settings.root), "rev-parse", "HEAD"], timeout=_SECONDS)
    if not head.ok:
        return [Finding(name="git", state="broken", detail=f"{text}, but {settings.root} has no commit", needed=True,
                        cure="git init && git add -A && git commit -m Begin")]  # fmt: skip
    return [Finding(name="git", state="works", detail=text, needed=True)]


async def _folders(settings: Settings) -> list[Finding]:
    """Whether runs can be kept and worktrees be made; nothing is told of what works."""
    found = []
    for name, folder in (("state folder", settings.state), ("cache folder", cache_folder())):
        present = next(place for place in (folder, *folder.parents) if place.exists())
        if not (present.is_dir() and os.access(present, os.W_OK | os.X_OK)):
            found.append(Finding(name=name, state="broken", detail=f"{present} cannot be written to", needed=True,
                                 cure="let your user write there, or set XDG_CACHE_HOME to another folder"
                                 if name == "cache folder" else "let your user write there"))  # fmt: skip
    return found


async def _sandbox(settings: Settings) -> list[Finding]:
    if settings.sandbox.mode == "none":
        return [Finding(name="sandbox", state="off", detail="sandbox.mode is none: programs are not confined")]
    try:
        probes = await probe(settings.sandbox, settings.root)
    except HarnessError as error:
        return [Finding(name="sandbox", state="broken", detail=error.message, cure=error.hint)]
    wanted = [one for one in probes if settings.sandbox.mode in ("auto", one.mode)]
    works = next((one for one in wanted if one.works), None)
    if works is not None:
        return [Finding(name="sandbox", state="works", detail=f"{works.mode}: {works.detail}", needed=True)]
    told = "; ".join(f"{one.mode}: {one.detail}" for one in wanted)
    cure = next((one.cure for one in wanted if one.cure), None)
    return [Finding(name="sandbox", state="broken", detail=told, cure=cure, needed=True)]


async def _tracker(settings: Settings) -> list[Finding]:
    try:
        tracker = registry.tracker(settings)
        ready = await tracker.ready(Wanted())
    except HarnessError as error:
        return [Finding(name="tracker", state="broken", detail=error.message, cure=error.hint, needed=True)]
    version = f", {await _said('bd', 'version')}" if tracker.name == "beads" else ""
    many = "1 issue" if len(ready) == 1 else f"{len(ready)} issues"
    return [Finding(name="tracker", state="works", detail=f"{tracker.name}{version}: {many} ready", needed=True)]


async def _hooks(settings: Settings) -> list[Finding]:
    if not (settings.root / ".beads").is_dir():
        return []
    if hooks.installed(settings.root):
        return [Finding(name="hooks", state="works", detail="on_create and on_update wake up `harness work --watch`")]
    return [Finding(name="hooks", state="off", detail="not installed", cure="harness init --hooks")]


async def _models(settings: Settings) -> list[Finding]:
    """Whether each provider that a tier names has a key; no call is made, because calls are paid."""
    if settings.models.script is not None:
        detail = f"scripted by {settings.models.script}: no API is called"
        return [Finding(name="models", state="works", detail=detail, needed=True)]
    findings = []
    for name in dict.fromkeys(model.partition("/")[0] for models in settings.tiers.values() for model in models):
        tiers = [tier for tier, models in settings.tiers.items() if any(m.startswith(name + "/") for m in models)]
        serves = f"serves {', '.join(tiers)}"
        try:
            key = find_provider(name, settings.providers, environment()).key
        except HarnessError as error:
            findings.append(Finding(name=name, state="missing", detail=f"{error.message}; {serves}",
                                    cure=error.hint, needed=True))  # fmt: skip
        else:
            how = "needs no key" if key == NO_KEY else "has a key"
            findings.append(Finding(name=name, state="works", detail=f"{how}; {serves}", needed=True))
    return findings


async def _described_routes(settings: Settings) -> list[Finding]:
    """Whether `harness serve` and described routes go by meaning, or by words alone."""
    routes = settings.routing.preferences[:1] or (RoutePreference(name="code", description="writing code"),)
    made = await anyio.to_thread.run_sync(best_classifier, routes)
    if made.note:
        cure = "pip install --force-reinstall onnxruntime tokenizers numpy"
        return [Finding(name="described routes", state="missing", detail=made.note, cure=cure)]
    return [Finding(name="described routes", state="works", detail="told apart by meaning, without a network")]


async def _gastown(settings: Settings) -> list[Finding]:
    town = gastown.town_root(settings.root)
    if shutil.which(gastown.PROGRAM) is None:
        if town is None:
            return [Finding(name="gas town", state="missing", detail="no gt on PATH", cure=gastown.INSTALL)]
        return [Finding(name="gas town", state="broken", detail=f"{town} is a town, but no gt is on PATH",
                        cure=gastown.INSTALL)]  # fmt: skip
    version = await _said("gt", "version")
    if town is None:
        return [Finding(name="gas town", state="off", detail=f"{version}; {settings.root} is in no town")]
    if await gastown.lacks_sqlite(town):
        return [Finding(name="gas town", state="broken", detail=f"{version} shows no convoy's issues without sqlite3",
                        cure=gastown.SQLITE_CURE)]  # fmt: skip
    try:
        lacking = await gastown.unregistered(settings)
    except HarnessError as error:
        return [Finding(name="gas town", state="broken", detail=error.message, cure=error.hint or "gt doctor")]
    if lacking:
        return [Finding(name="gas town", state="off", detail=f"{version}; no agents {', '.join(lacking)}",
                        cure="harness init --gastown")]  # fmt: skip
    return [Finding(name="gas town", state="works", detail=f"{version}; agents registered in {town}")]


async def _agents(settings: Settings) -> list[Finding]:
    findings = []
    chosen = settings.executor.replace("claude_code", "claude")
    for name, cure in AGENTS.items():
        if shutil.which(name) is None:
            findings.append(Finding(name=name, state="missing", detail=f"no {name} on PATH", cure=cure,
                                    needed=chosen == name))  # fmt: skip
            continue
        text = await _said(name, "--version")
        state: State = "works" if re.search(r"\d+\.\d+", text) else "broken"
        findings.append(Finding(name=name, state=state, detail=text, cure=None if state == "works" else cure))
    return findings


async def _plugin(settings: Settings) -> list[Finding]:
    if shutil.which("claude") is None:
        return []
    said = await proc.run(["claude", "plugin", "list", "--json"], cwd=settings.root, timeout=_SECONDS)
    try:
        entries = json.loads(said.stdout) if said.ok else []
        present = any(str(entry.get("id", "")).partition("@")[0] == "harness" for entry in entries)
    except (ValueError, AttributeError):
        present = False
    if present:
        return [Finding(name="claude plugin", state="works", detail="/harness:route, :run, :status, :report")]
    folder = shlex.quote(str(shipped("plugins") / "claude-code"))
    cure = f"claude plugin marketplace add {folder} && claude plugin install harness@beads-harness"
    return [Finding(name="claude plugin", state="off", detail="not installed", cure=cure)]


async def _said(*argv: str) -> str:
    """The line with a version in what a program says, or its first line."""
    said = await proc.run(argv, timeout=_SECONDS)
    lines = [line.strip() for line in said.output.splitlines() if line.strip()] or [f"{argv[0]} says nothing"]
    return next((line for line in lines if re.search(r"\d+\.\d+", line)), lines[0])
