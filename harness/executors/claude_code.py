"""Claude Code (`claude -p`) as an executor: confined, capped, and believed only as far as its own result line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from harness.config.reading import environment
from harness.config.settings import OwnPrice, Settings
from harness.executors.agents import Agent, ended, json_line, open_agent, priced, prompt_of, used_up
from harness.executors.model_door import PLACEHOLDER
from harness.executors.telling import tell_turn
from harness.models.providers import Provider, find_provider
from harness.proc import Completed
from harness.protocols import Session, Worked
from harness.sandbox import Sandbox
from harness.types import ModelCall, Usage

PROVIDER = "anthropic"
TOKENS = ("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
INSTALL = "npm install -g @anthropic-ai/claude-code"
TOOLS = "Bash,Read,Edit,Write,Glob,Grep"
STOPPED_BY = {"error_max_turns": "limit", "error_max_budget_usd": "budget"}
"""Claude Code's result subtypes that are a bound of ours being reached."""
NAMESPACE = uuid.UUID("6f1c1d0e-0f2e-5d0b-9a52-4a55b0fc0f6b")
QUIET = {
    "IS_SANDBOX": "1",  # it is one, and without this it refuses some modes to root
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}


class ClaudeCode:
    """Runs `claude` in the sandbox with the tier's model. Project settings and MCP servers of the repository are not
    loaded: they can run programs, and the repository is untrusted. Its CLAUDE.md is read."""

    name = "claude_code"
    shared_prefix = False

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self._sandbox, self._settings = sandbox, settings

    async def work(self, session: Session) -> Worked:
        """See Executor; raises MissingTool without `claude`, ModelAuthError without a key or
        with a refused one, ModelUnavailable in an outage."""
        if (reached := used_up(session)) is not None:
            return reached
        variable, provider = _credential(self._settings)
        async with open_agent(session, self._sandbox, provider) as agent:
            said = _Said(session, self._settings.prices)
            variables = {**self._variables(agent), variable: PLACEHOLDER}
            done = await agent.run(_argv(session), variables, prompt_of(session), said.line, INSTALL)
            said.worn_out = agent.door is not None and agent.door.worn_out
        return agent.judged(said.verdict(done))

    def _variables(self, agent: Agent) -> dict[str, str]:
        assert agent.door is not None
        bound = str(int(agent.session.job.limits.command_seconds * 1000))
        small = next(iter(self._settings.tiers.values()))[0].partition("/")[2]
        return {
            **QUIET,
            "ANTHROPIC_BASE_URL": agent.door.base_url,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": small,
            "CLAUDE_CODE_MAX_RETRIES": str(self._settings.models.retries),
            "BASH_DEFAULT_TIMEOUT_MS": bound,
            "BASH_MAX_TIMEOUT_MS": bound,
        }


def _credential(settings: Settings) -> tuple[str, Provider]:
    """The variable by which Claude Code is told of its credential, and the provider that holds the real one.

    A key from the settings or the environment, a token, or a subscription's (`claude setup-token`), which Claude Code
    announces in a way of its own.
    """
    variables = environment()
    provider = find_provider(PROVIDER, settings.providers, variables, settings.models.timeout_seconds)
    own = settings.providers.get(PROVIDER)
    if (own is not None and own.api_key) or variables.get(provider.key_name or "ANTHROPIC_API_KEY"):
        return "ANTHROPIC_API_KEY", provider
    for name in TOKENS:
        if variables.get(name):
            return name, replace(provider, api_key=SecretStr(variables[name]))
    return "ANTHROPIC_API_KEY", provider


def _argv(session: Session) -> list[str]:
    model = session.pool.models[0].partition("/")[2]
    left = session.meter.left().usd
    identity = f"{session.job.run_id}/{session.job.key}/{session.number}"
    return [
        "claude", "-p", "--output-format", "stream-json", "--verbose", "--model", model,
        "--max-turns", str(session.job.limits.turns), *(["--max-budget-usd", str(left)] if left is not None else []),
        "--tools", TOOLS, "--allowedTools", TOOLS, "--permission-mode", "acceptEdits", "--permission-prompts", "none",
        "--setting-sources", "user", "--strict-mcp-config", "--session-id", str(uuid.uuid5(NAMESPACE, identity)),
    ]  # fmt: skip


@dataclass
class _Said:
    """What Claude Code printed, line by line, and what to make of it."""

    session: Session
    prices: Mapping[str, OwnPrice]
    result: dict[str, Any] | None = None
    turns: int = 0
    worn_out: bool = False
    seen: set[str] = field(default_factory=set)

    def line(self, line: str) -> None:
        data: dict[str, Any] = dict(json_line(line))
        if data.get("type") == "result":
            self.result = data
        message = data.get("message") if data.get("type") == "assistant" else None
        if isinstance(message, dict):
            if message.get("id") not in self.seen:
                self.seen.add(str(message.get("id")))
                self.turns += 1
            tools = [_shown(block) for block in message.get("content", ()) if block.get("type") == "tool_use"]
            if tools:
                tell_turn(self.session, self.turns, str(message.get("model", "")), tools)

    def verdict(self, done: Completed) -> Worked:
        """Success is a result that says so in every field: Claude Code reports `subtype: success` for API errors too,
        and ends with 0 after it was denied what it needed."""
        session, result = self.session, self.result
        if done.timed_out:
            return ended(session, "limit", self._calls(done), error="the task's time is used up")
        if result is None:
            tail = done.output.strip()[-1500:]
            return ended(
                session, "error", (), error=f"claude ended with exit code {done.exit_code} and no result: {tail}"
            )
        text, subtype = str(result.get("result") or ""), str(result.get("subtype"))
        calls = self._calls(done)
        if self.worn_out:
            return ended(session, "budget", calls, text, "the budget's model calls are used up")
        if subtype in STOPPED_BY:
            return ended(session, STOPPED_BY[subtype], calls, text, f"claude stopped: {subtype.removeprefix('error_')}")
        if result.get("is_error") or subtype != "success" or done.exit_code != 0:
            return ended(
                session,
                "error",
                calls,
                text,
                f"claude failed ({subtype}): {text or '; '.join(result.get('errors', ()))}",
            )
        if denials := result.get("permission_denials"):
            told = ", ".join(
                f"{item.get('tool_name')} {json.dumps(item.get('tool_input', {}))[:200]}" for item in denials
            )
            return ended(session, "error", calls, text, f"claude was denied what it asked for: {told}")
        return ended(session, "finished", calls, text)

    def _calls(self, done: Completed) -> list[ModelCall]:
        """One call a model: its price by our list, against which Claude Code's own figure is only a fallback."""
        by_model: dict[str, dict[str, Any]] = (self.result or {}).get("modelUsage") or {}
        calls = []
        for number, (model, used) in enumerate(by_model.items()):
            written, hour = used.get("cacheCreationInputTokens", 0), used.get("cacheCreationEphemeral1hInputTokens", 0)
            usage = Usage(
                requests=max(1, self.turns) if number == 0 else 1,
                input_tokens=used.get("inputTokens", 0),
                output_tokens=used.get("outputTokens", 0),
                cache_read_tokens=used.get("cacheReadInputTokens", 0),
                cache_write_5m_tokens=max(0, written - hour),
                cache_write_1h_tokens=hour,
            )
            claimed = Decimal(str(used["costUSD"])) if "costUSD" in used else None
            calls.append(priced(self.session, f"{PROVIDER}/{model}", usage, claimed, done.seconds, self.prices))
        return calls


def _shown(block: dict[str, Any]) -> str:
    given = block.get("input") or {}
    what = str(given.get("command") or given.get("file_path") or given.get("pattern") or "")
    return f"{block.get('name')} {what.splitlines()[0][:100] if what else ''}".strip()
