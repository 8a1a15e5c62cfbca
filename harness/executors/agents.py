"""What every agent of somebody else's needs: a prompt, an environment, a door to its model, and honest accounting."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import anyio.to_thread

from harness.config.reading import environment
from harness.config.settings import OwnPrice
from harness.errors import BudgetExceeded, MissingTool, ModelUnavailable
from harness.executors.model_door import ModelDoor, model_door
from harness.executors.tools import shorten
from harness.models.headers import call_headers
from harness.models.providers import Provider, no_key
from harness.pricing import price
from harness.proc import Completed
from harness.prompts import task_text
from harness.protocols import Session, Worked
from harness.redact import redact
from harness.sandbox import Sandbox
from harness.sandbox.toolchain import program_folders
from harness.types import ModelCall, ModelRequest, Usage

OUTPUT_LIMIT = 4 << 20
LONG_PROMPT = 200_000
"""Tokens. The least that any provider has prices of its own for."""


@dataclass(frozen=True)
class Agent:
    """One run of somebody else's agent in a session's worktree."""

    session: Session
    sandbox: Sandbox
    scratch: Path
    network: bool
    provider: Provider | None = None
    door: ModelDoor | None = None

    async def run(
        self,
        argv: Sequence[str],
        variables: Mapping[str, str],
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
        install: str | None = None,
    ) -> Completed:
        """Run it to its end, or to the end of the task's time; raises MissingTool that says how to `install` it."""
        program = await anyio.to_thread.run_sync(_find, argv[0], install)
        argv = [str(program), *argv[1:]]
        readable = program_folders(program)
        if self.door is not None:
            argv, readable = self.door.through(argv), (*readable, *self.door.readable)
        # Its own folder last on PATH, for the interpreter that may stand beside it.
        path = f"{self.sandbox.environment.get('PATH', '')}:{program.parent}"
        return await self.sandbox.run(
            argv,
            self.session.path,
            self.session.meter.left().seconds,
            stdin=stdin.encode() if stdin is not None else None,
            environment={"PATH": path, **variables},
            network=self.network or (self.door is not None and self.door.network),
            readable=readable,
            scratch=self.scratch,
            output_limit=OUTPUT_LIMIT,
            on_line=on_line,
        )

    @property
    def asked(self) -> int:
        """Model requests made; an agent that goes its own way to its model counts as one."""
        return (_least(len(self.door.log), self.door.most) or 0) if self.door else 1

    def judged(self, worked: Worked) -> Worked:
        """The session's end as it is, unless the agent failed because its provider did: that is no failure of the work.

        Raises ModelAuthError or ModelUnavailable then.
        """
        if worked.outcome == "error" and self.provider and self.door and self.door.log:
            status, name = self.door.log[-1], self.provider.name
            if status in (401, 403):
                raise no_key(self.provider, f"HTTP {status}")
            if status == 429 or status >= 500:
                raise ModelUnavailable(f"{name} answered HTTP {status} until the agent gave up", "try again later")
        return worked

    @property
    def home(self) -> str:
        """The agent's own, private and empty: HOME in the sandbox."""
        return "/tmp/home" if self.sandbox.mode == "bubblewrap" else str(self.scratch / "home")


@asynccontextmanager
async def open_agent(
    session: Session, sandbox: Sandbox, provider: Provider | None, network: bool = False, most: int | None = None
) -> AsyncIterator[Agent]:
    """An agent with a private home, and with a door to `provider` when there is one; raises ModelAuthError.

    `network` opens the whole network to it; `most` bounds its model requests, besides the budget.
    """
    async with sandbox.scratch() as scratch:
        if provider is None:
            yield Agent(session, sandbox, scratch, network)
            return
        provider.key  # noqa: B018  # raises now, with the cure, and not after the agent has puzzled over a 401
        async with model_door(
            provider, sandbox, scratch, _headers(session), _least(most, session.meter.left().calls), session.spans
        ) as door:
            yield Agent(session, sandbox, scratch, network, provider, door)


def used_up(session: Session) -> Worked | None:
    """The end of a session that has no budget left to begin with; None when there is some."""
    try:
        session.meter.check()
    except BudgetExceeded as error:
        return ended(session, "budget", (), error=error.message)
    return None


def prompt_of(session: Session) -> str:
    """Brief and task, as one text."""
    job = session.job
    task = job.task.model_copy(update={"verify": tuple(dict.fromkeys((*job.task.verify, *job.verify)))})
    closing = (
        "Change the files in this checkout; do not commit. When the task is done and checked, say in a few lines "
        "what you changed."
    )
    return "\n\n".join(part for part in (job.brief, task_text(task, session.feedback), closing) if part)


def priced(
    session: Session,
    model: str,
    usage: Usage,
    claimed: Decimal | None,
    seconds: float,
    prices: Mapping[str, OwnPrice],
) -> ModelCall:
    """An agent's usage as one call, at our own price; at the price it claims where we know none."""
    usage = price(model, usage, own=prices)
    # Prices of long prompts hold by the request, and of a session only the sum is told: there the agent knows better.
    if claimed is not None and (usage.unpriced_requests or usage.total_input > LONG_PROMPT):
        usage = usage.model_copy(update={"cost_usd": claimed, "unpriced_requests": 0})
    return ModelCall(
        phase="execute",
        task_id=session.job.task.id,
        attempt=session.number,
        tier=session.pool.tier,
        model=model,
        usage=usage,
        seconds=seconds,
    )


def ended(
    session: Session, outcome: str, calls: Sequence[ModelCall], summary: str = "", error: str | None = None
) -> Worked:
    """The session's end, counted on the meter."""
    for call in calls:
        session.meter.add(call.usage)
    limit = session.job.limits.summary_chars
    return Worked(
        outcome=outcome,
        summary=shorten(redact(summary.strip()), limit),
        error=redact(shorten(error, limit)) if error else None,
        calls=tuple(calls),
        model=calls[-1].model if calls else "",
    )


def json_line(line: str) -> dict[str, object]:
    """The JSON object of a line of an agent's output; empty for anything else it may print."""
    if not line.startswith("{"):
        return {}
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _headers(session: Session) -> dict[str, str]:
    """Those of every model call of ours, which no agent would set by itself."""
    job = session.job
    request = ModelRequest(
        pool=session.pool,
        messages=(),
        affinity=job.affinity,
        phase="execute",
        issue_id=job.issue_id,
        task_id=job.task.id,
        run_id=job.run_id,
        attempt=session.number,
        traceparent=session.spans.carrier().get("traceparent") if session.spans.propagate else None,
    )
    told = call_headers(request)
    return {name.lower(): value for name, value in told.items()}


def _find(program: str, install: str | None) -> Path:
    found = shutil.which(program, path=environment().get("PATH"))
    if found is None:
        raise MissingTool(
            f"there is no '{program}' on PATH", f"{install or f'install {program}'}, or choose another executor"
        )
    return Path(found).absolute()
