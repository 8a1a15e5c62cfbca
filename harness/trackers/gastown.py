"""Gas Town through its own command `gt`: convoys as work to do, agents by tier, and slings.

A convoy is a list of issues that somebody wants done together. Its members' state is asked of Beads, which keeps it:
`gt convoy status --json` of 1.0 leaves it empty for issues of a rig, that of 0.5 does not.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness import proc
from harness.config.reading import environment
from harness.config.settings import Settings
from harness.errors import IssueNotFound, MissingTool, TrackerError
from harness.protocols import Tracker, Wanted
from harness.shipped import shipped
from harness.trackers import record
from harness.types import Issue, Value

PROGRAM = "gt"
INSTALL = "install Gas Town: go install github.com/steveyegge/gastown/cmd/gt@latest"
SQLITE = "sqlite3"
SQLITE_CURE = "install sqlite3 (apt-get install sqlite3), or Gas Town 1.0 or later"
FORMULA = "harness-swarm.formula.toml"
AGENT_PREFIX = "claude-"

_SECONDS = 120.0
_SLING_SECONDS = 600.0
"""A sling waits until the agent it has started shows its prompt."""


class Convoy(Value):
    """A convoy as gt tells it; the state of its issues is Beads' to tell."""

    id: str
    title: str
    status: str = "open"
    tracked: tuple[str, ...] = ()
    """Ids of its issues."""


class Town(Value):
    """A Gas Town: where it is, and which rig keeps the issues of which prefix."""

    root: Path
    routes: dict[str, str] = {}
    """Prefix (`cs-`) → path of the rig in the town (`csm`)."""

    def rig_of(self, issue_id: str) -> str | None:
        """The rig that keeps an issue, by the longest prefix; None for the town's own."""
        fitting = [prefix for prefix in self.routes if issue_id.startswith(prefix)]
        path = self.routes[max(fitting, key=len)] if fitting else "."
        return None if path == "." else Path(path).parts[0]

    def rig_at(self, folder: Path) -> str | None:
        """The rig that a folder lies in; None outside all rigs."""
        try:
            parts = folder.resolve().relative_to(self.root).parts
        except ValueError:
            return None
        rigs = {Path(path).parts[0] for path in self.routes.values() if path != "."}
        return parts[0] if parts and parts[0] in rigs else None


def town_root(start: Path) -> Path | None:
    """The town a folder lies in, by its `mayor/town.json`; None outside all towns."""
    here = start.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "mayor" / "town.json").is_file()), None)


def find_town(start: Path) -> Town:
    """The town a folder lies in; raises TrackerError."""
    root = town_root(start)
    if root is None:
        raise TrackerError(f"{start.resolve()} is in no Gas Town", "go into one, or make one with `gt install`")
    routes: dict[str, str] = {}
    file = root / ".beads" / "routes.jsonl"
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.is_file() else (), start=1):
        if line.strip():
            try:
                entry = json.loads(line)
                routes[str(entry["prefix"])] = str(entry["path"])
            except (ValueError, KeyError, TypeError):
                raise TrackerError(f'{file}:{number}: expected {{"prefix": …, "path": …}}') from None
    return Town(root=root, routes=routes)


async def read_convoy(convoy_id: str, town: Path) -> Convoy:
    """The convoy; raises IssueNotFound, MissingTool, or TrackerError for what gt refuses and for one without issues."""
    said = await gt(["convoy", "status", convoy_id, "--json"], town)
    try:
        data = json.loads(said.stdout)
        tracked = tuple(str(entry["id"]) for entry in data.get("tracked") or ())
        convoy = Convoy(
            id=data["id"], title=data.get("title") or "", status=data.get("status") or "open", tracked=tracked
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        convoy = None
    if convoy is not None:
        if not convoy.tracked and await lacks_sqlite(town):
            raise MissingTool(f"convoy {convoy_id}: gt shows none of its issues, for want of {SQLITE}", SQLITE_CURE)
        if not convoy.tracked:
            raise TrackerError(
                f"convoy {convoy_id} has no issue that gt can see",
                f"put some in: gt convoy add {convoy_id} ISSUE … (gt before 1.0 sees those of bd before 0.57 only)",
            )
        return convoy
    # 0.5 fails to parse what bd says of an id that there is not; 1.0 says so itself.
    if re.search(r"not found|parsing convoy data", said.output):
        raise IssueNotFound(f"no convoy '{convoy_id}'", "`gt convoy list` shows those there are")
    raise _refusal("convoy status", said)


async def lacks_sqlite(town: Path) -> bool:
    """Whether gt is of the generation that needs the program sqlite3 to see a convoy's issues, and it is not here."""
    if shutil.which(SQLITE, path=environment().get("PATH")) is not None:
        return False
    return re.search(r"\b0\.\d+\.\d+", (await gt(["version"], town)).stdout) is not None


async def sling(issue_id: str, rig: str, agent: str, town: Path) -> str:
    """Hand an issue to a fresh worker of a rig that runs `agent`; returns what gt said of it."""
    said = await gt(["sling", issue_id, rig, "--agent", agent], town, _SLING_SECONDS)
    if not said.ok:
        raise _refusal("sling", said)
    return said.stdout.strip()


async def gt(argv: Sequence[str], cwd: Path, timeout: float = _SECONDS) -> proc.Completed:
    """One call of gt; raises MissingTool, and TrackerError when it hangs."""
    try:
        said = await proc.run([PROGRAM, *argv], cwd=cwd, timeout=timeout)
    except MissingTool as error:
        raise MissingTool(error.message, INSTALL if error.hint else None) from None
    if said.timed_out:
        raise TrackerError(f"gt {argv[0]} gave no answer within {timeout:g} s", "`gt doctor` tells what is stuck")
    return said


def _refusal(what: str, said: proc.Completed) -> TrackerError:
    lines = [line.strip() for line in (said.stderr + "\n" + said.stdout).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("Error:")), lines[0] if lines else "no explanation")
    return TrackerError(f"gt {what}: {told.removeprefix('Error:').strip()}")


# ── agents and the formula ────────────────────────────────────────────────────────────────────────────────────


def agent_name(tier: str) -> str:
    """What Gas Town knows a tier's agent by: `claude-haiku`."""
    return AGENT_PREFIX + tier


def agent_commands(settings: Settings) -> dict[str, str]:
    """Agent → its command, for each tier with an Anthropic model: Claude Code started with that model."""
    commands = {}
    for tier, models in settings.tiers.items():
        own = next((model for model in models if model.startswith("anthropic/")), None)
        if own is not None:
            name = own.removeprefix("anthropic/")
            commands[agent_name(tier)] = f"claude --dangerously-skip-permissions --model {shlex.quote(name)}"
    return commands


async def register(settings: Settings, force: bool = False) -> list[str]:
    """Register an agent for each tier and put the formula in place; returns what was done, in sentences.

    An agent of the same name that runs something else is the user's and stays, unless `force`.
    """
    town = find_town(settings.root).root
    present = await _agents(town)
    done = []
    for name, command in agent_commands(settings).items():
        if present.get(name, command) != command and not force:
            done.append(f"left agent {name}: it runs `{present[name]}` (--force replaces it)")
        elif present.get(name) != command:
            said = await gt(["config", "agent", "set", name, command], town)
            if not said.ok:
                raise _refusal("config agent set", said)
            done.append(f"registered agent {name}: {command}")
    target = _formula(town)
    text = (shipped("plugins") / "gastown" / FORMULA).read_bytes()
    if not target.exists() or target.read_bytes() != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
        done.append(f"wrote {target}")
    return done or ["agents and formula are in place"]


async def unregistered(settings: Settings) -> list[str]:
    """Agents that `register` would make and the town does not have."""
    present = await _agents(find_town(settings.root).root)
    return [name for name in agent_commands(settings) if name not in present]


async def unregister(settings: Settings) -> list[str]:
    """Take away the agents and the formula that `register` put there, and nothing else."""
    town = find_town(settings.root).root
    present = await _agents(town)
    done = []
    for name, command in agent_commands(settings).items():
        if present.get(name) == command:
            said = await gt(["config", "agent", "remove", name], town)
            if not said.ok:
                raise _refusal("config agent remove", said)
            done.append(f"removed agent {name}")
    target = _formula(town)
    if target.exists():
        target.unlink()
        done.append(f"removed {target}")
    return done


async def _agents(town: Path) -> dict[str, str]:
    """The custom agents of a town and their commands."""
    said = await gt(["config", "agent", "list", "--json"], town)
    if not said.ok:
        raise _refusal("config agent list", said)
    entries = json.loads(said.stdout)
    return {
        entry["name"]: " ".join(part for part in (entry.get("command"), entry.get("args")) if part)
        for entry in entries
        if entry.get("is_custom")
    }


def _formula(town: Path) -> Path:
    return town / ".beads" / "formulas" / FORMULA


# ── a convoy as one piece of work ─────────────────────────────────────────────────────────────────────────────


class ConvoyTracker:
    """A tracker in which a convoy is an epic: its issues are the children, and what befalls it befalls them.

    All else is `inner`'s, the tracker of the rig.
    """

    def __init__(self, convoy: Convoy, members: Sequence[str], inner: Tracker) -> None:
        self.name = inner.name
        self._convoy, self._members, self._inner = convoy, tuple(members), inner

    async def epic(self) -> Issue:
        """The convoy as an issue: as urgent as its most urgent member, and with all labels that tell of risk."""
        members = await self._nodes()
        labels = dict.fromkeys(label for member in members for label in member.labels if _concerns_all(label))
        listed = "\n".join(f"- {member.id}: {member.title}" for member in members)
        return Issue(
            id=self._convoy.id,
            title=self._convoy.title or self._convoy.id,
            body=f"These issues belong together and are done together:\n\n{listed}",
            labels=tuple(labels),
            type="epic",
            priority=min((member.priority for member in members), default=2),
            status=self._convoy.status,
            files=tuple(dict.fromkeys(path for member in members for path in member.files)),
            source="gastown",
        )

    async def get(self, issue_id: str) -> Issue:
        return await (self.epic() if issue_id == self._convoy.id else self._inner.get(issue_id))

    async def ready(self, wanted: Wanted) -> list[Issue]:
        return await self._inner.ready(wanted)

    async def children(self, issue_id: str) -> list[Issue]:
        if issue_id != self._convoy.id:
            return await self._inner.children(issue_id)
        return [member for member in await self._nodes() if member.status not in record.OVER]

    async def claim(self, issue_id: str, actor: str) -> bool:
        """All members, or none: what was taken is given back when one is held by somebody else."""
        if issue_id != self._convoy.id:
            return await self._inner.claim(issue_id, actor)
        taken: list[str] = []
        for member in self._members:
            if not await self._inner.claim(member, actor):
                for mine in taken:
                    await self._inner.release(mine, f"{member} of convoy {issue_id} is held by somebody else", actor)
                return False
            taken.append(member)
        return True

    async def comment(self, issue_id: str, text: str, actor: str) -> None:
        for one in self._meant(issue_id):
            await self._inner.comment(one, text, actor)

    async def close(self, issue_id: str, reason: str, actor: str) -> None:
        for one in self._meant(issue_id):
            await self._inner.close(one, reason, actor)

    async def release(self, issue_id: str, reason: str, actor: str, labels: Sequence[str] = ()) -> None:
        for one in self._meant(issue_id):
            await self._inner.release(one, reason, actor, labels)

    async def file(self, issue: Issue, discovered_from: str, actor: str) -> str:
        return await self._inner.file(issue, self._meant(discovered_from)[0], actor)

    def _meant(self, issue_id: str) -> tuple[str, ...]:
        return self._members if issue_id == self._convoy.id else (issue_id,)

    async def _nodes(self) -> list[Issue]:
        return [await self._inner.get(member) for member in self._members]


def _concerns_all(label: str) -> bool:
    """Whether a member's label is one of the convoy's: risk is, its own size, model and history are not."""
    return label == "complexity:complex" or not label.startswith(
        ("complexity:", "gt:", "harness:", "model:", "pipeline:")
    )


def in_order(members: Sequence[Issue]) -> list[Issue]:
    """Members such that each comes after those of them that block it; Beads refuses cycles, so there is an order."""
    placed: dict[str, Issue] = {}
    waiting = {member.id: member for member in members}
    while waiting:
        free = [one for one in waiting.values() if not any(blocker in waiting for blocker in one.blocked_by)]
        for one in free or list(waiting.values()):
            placed[one.id] = waiting.pop(one.id)
    return list(placed.values())
