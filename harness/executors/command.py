"""Any agent with a command line as an executor: a preset's argv, filled in and confined."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import anyio.to_thread

from harness.config.reading import environment, read_mapping, validate
from harness.config.settings import ExecutorCommand, Settings
from harness.errors import ConfigError
from harness.executors.agents import Agent, ended, json_line, open_agent, priced, prompt_of, used_up
from harness.executors.model_door import PLACEHOLDER
from harness.executors.telling import tell_turn
from harness.executors.usage import READERS, Told
from harness.models.providers import Provider, find_provider
from harness.proc import Completed
from harness.protocols import Session, Worked
from harness.sandbox import Sandbox
from harness.types import ModelCall, Usage

PRESETS = Path(__file__).with_name("presets.yaml")
LONGEST_ARGUMENT = 120_000
"""Bytes; Linux takes 128 KiB in one argument."""
TAIL_CHARS = 2_000


def preset(name: str, settings: Settings) -> ExecutorCommand | None:
    """The preset of that name, the user's before the built-in one; None when there is none."""
    return settings.executors.get(name) or built_in_presets().get(name)


@cache
def built_in_presets() -> Mapping[str, ExecutorCommand]:
    """The presets that are shipped, by name."""
    presets: Mapping[str, ExecutorCommand] = validate(
        dict[str, ExecutorCommand], read_mapping(PRESETS), "built-in executors"
    )
    return presets


class CommandExecutor:
    """Runs one preset's agent in the sandbox. It has done its work when it ends with 0 and tells of no error."""

    shared_prefix = False

    def __init__(self, name: str, preset: ExecutorCommand, sandbox: Sandbox, settings: Settings) -> None:
        self.name, self._preset, self._sandbox, self._settings = name, preset, sandbox, settings

    async def work(self, session: Session) -> Worked:
        """See Executor; raises MissingTool, ModelAuthError, and ConfigError for a placeholder that means nothing."""
        preset = self._preset
        told = Told()

        def read(line: str) -> None:
            event, told.tools = json_line(line), []
            if preset.usage and event:
                READERS[preset.usage](told, dict(event))
                if told.tools:
                    tell_turn(session, told.turns, self._model(session), told.tools)

        if (reached := used_up(session)) is not None:
            return reached
        async with open_agent(
            session, self._sandbox, self._provider(), preset.network, session.job.limits.turns
        ) as agent:
            words = self._words(agent)
            tell_turn(session, 0, self._model(session), [preset.argv[0]])
            done = await agent.run(
                [self._filled(part, words, "argv") for part in preset.argv],
                {name: self._filled(value, words, "environment") for name, value in preset.environment.items()},
                None if preset.stdin is None else self._filled(preset.stdin, words, "stdin"),
                read,
                preset.install,
            )
        await anyio.to_thread.run_sync(_sweep, session.path, preset.litter)
        return agent.judged(self._verdict(agent, done, told))

    def _provider(self) -> Provider | None:
        if self._preset.provider is None:
            return None
        bound = self._settings.models.timeout_seconds
        return find_provider(self._preset.provider, self._settings.providers, environment(), bound)

    def _verdict(self, agent: Agent, done: Completed, told: Told) -> Worked:
        session = agent.session
        calls = self._calls(session, done, told, agent.asked)
        tail = done.output.strip()[-TAIL_CHARS:]
        if done.timed_out:
            return ended(session, "limit", calls, told.summary, "the task's time is used up")
        if agent.door and agent.door.worn_out:
            problem = f"{agent.door.most} model requests were not enough (limits.turns, or the budget's calls)"
            return ended(session, "limit", calls, told.summary, problem)
        if told.error or done.exit_code != 0:
            problem = told.error or f"it ended with exit code {done.exit_code}: {tail}"
            return ended(session, "error", calls, told.summary, f"{self.name}: {problem}")
        return ended(session, "finished", calls, told.summary or tail)

    def _calls(self, session: Session, done: Completed, told: Told, asked: int) -> list[ModelCall]:
        """The agent's usage; requests whose usage it does not tell are counted, and their price is unknown."""
        usage = told.usage.model_copy(update={"requests": max(asked, told.usage.requests)})
        model = f"{self._preset.provider or self.name}/{self._model(session)}"
        if told.known:
            return [priced(session, model, usage, None, done.seconds, self._settings.prices)]
        if asked == 0:
            return []
        unknown = Usage(requests=asked, unpriced_requests=asked)
        call = priced(session, model, usage, None, done.seconds, self._settings.prices)
        return [call.model_copy(update={"usage": unknown})]

    def _model(self, session: Session) -> str:
        pool, provider = session.pool, self._preset.provider
        if pool.tier in self._preset.model_names:
            return self._preset.model_names[pool.tier]
        fitting = [model for model in pool.models if provider is None or model.startswith(f"{provider}/")]
        if not fitting and provider:
            where = ("executors", self.name, "model_names")
            problem = f"{provider} has no model in tier '{pool.tier}'"
            raise ConfigError("harness.yaml", where, problem, f"name one there: model_names: {{{pool.tier}: …}}")
        return fitting[0].partition("/")[2]

    def _words(self, agent: Agent) -> dict[str, str]:
        session = agent.session
        prompt = prompt_of(session)
        (agent.scratch / "prompt.md").write_text(prompt, encoding="utf-8")
        words = {
            "prompt": prompt,
            "prompt_file": f"{agent.home.removesuffix('/home')}/prompt.md",
            "model": self._model(session),
            "tier": session.pool.tier,
            "affinity": session.job.affinity,
            "worktree": str(session.path),
            "home": agent.home,
        }
        return words | ({"base_url": agent.door.base_url, "key": PLACEHOLDER} if agent.door else {})

    def _filled(self, template: str, words: Mapping[str, str], where: str) -> str:
        def word(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0][1:-1]
            if match[1] not in words:
                known = ", ".join(f"{{{name}}}" for name in words)
                raise ConfigError(
                    "harness.yaml",
                    ("executors", self.name, where),
                    f"{match[0]} means nothing here; known: {known}",
                    f"write {{{match[0]}}} for the braces themselves",
                )
            return words[match[1]]

        filled = re.sub(r"\{\{[a-z_]+\}\}|\{([a-z_]+)\}", word, template)
        if where != "stdin" and len(filled.encode()) > LONGEST_ARGUMENT:
            raise ConfigError(
                "harness.yaml", ("executors", self.name, where), "the prompt is too long for a command line",
                "use stdin: '{prompt}', or {prompt_file}",
            )  # fmt: skip
        return filled


def _sweep(folder: Path, litter: tuple[str, ...]) -> None:
    for path in [path for pattern in litter for path in folder.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
