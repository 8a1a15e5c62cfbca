"""One contract over our own loop, a plain command, and the real Claude Code, codex and opencode.

The agents are the real programs; the model behind them is a scripted server that speaks their wire formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from harness.config.settings import ExecutorCommand, ProviderSettings
from harness.errors import ConfigError, MissingTool, ModelAuthError, ModelUnavailable
from harness.executors.claude_code import ClaudeCode
from harness.executors.command import CommandExecutor, built_in_presets, preset
from harness.executors.tool_loop import ToolLoop
from harness.models.script import Script
from harness.models.scripted import ScriptedModelClient
from harness.pricing import cost_of
from harness.types import total
from tests.contracts.executor import FIXED, KEY, ExecutorContract, ExecutorThat, command_of
from tests.executors.conftest import Bench
from tests.wire.server import WireRequest, WireServer

Answer = Callable[[WireRequest], dict[str, Any]]


class TestToolLoop(ExecutorContract):
    @pytest.fixture
    def executor_that(self, bench: Bench) -> ExecutorThat:
        def make(deed: str) -> ToolLoop:
            bash = {"name": "bash", "input": {"command": command_of(deed)}}
            turns = [{"tools": [bash]}, {"tools": [{"name": "finish", "input": {"summary": FIXED}}]}]
            models = ScriptedModelClient(Script.model_validate({"replies": [{"turns": turns}]}))
            return ToolLoop(models, bench.sandbox, bench.workspace, bench.settings)

        return make


class TestCommand(ExecutorContract):
    @pytest.fixture
    def executor_that(self, bench: Bench) -> ExecutorThat:
        def make(deed: str) -> CommandExecutor:
            script = f"{command_of(deed)} && echo '{FIXED}'"
            return CommandExecutor("sh", ExecutorCommand(argv=("sh", "-c", script)), bench.sandbox, bench.settings)

        return make

    async def test_a_failing_command_is_an_error_with_its_last_words(self, bench: Bench) -> None:
        agent = ExecutorCommand(argv=("sh", "-c", "echo begun; echo 'no luck' >&2; exit 4"))
        worked = await CommandExecutor("mine", agent, bench.sandbox, bench.settings).work(bench.session())
        assert worked.outcome == "error" and "exit code 4" in (worked.error or "") and "no luck" in (worked.error or "")

    async def test_everything_is_filled_in(self, bench: Bench) -> None:
        agent = ExecutorCommand(
            argv=("sh", "-c", 'cat - > in.txt; printf "%s\\n" "$@" "$WHO" > words.txt; cat "$1" > file.txt', "sh",
                  "{prompt_file}", "{model}", "{tier}", "{affinity}", "{worktree}", '{"json": {}}'),
            environment={"WHO": "{tier}!"},
            stdin="{prompt}",
            model_names={"haiku": "small one"},
        )  # fmt: skip
        worked = await CommandExecutor("mine", agent, bench.sandbox, bench.settings).work(
            bench.session(feedback="It failed: <data> no")
        )
        assert worked.outcome == "finished", worked.error
        words = (bench.path / "words.txt").read_text().splitlines()
        assert words[1:] == ["small one", "haiku", "run-1/t1/0", str(bench.path), '{"json": {}}', "haiku!"]
        prompt = (bench.path / "in.txt").read_text()
        assert prompt == (bench.path / "file.txt").read_text()
        assert "You are one of several." in prompt and "It failed: < data> no" in prompt
        assert worked.calls[0].usage.unpriced_requests == 1, "what it cost is unknown, not zero"

    async def test_an_agents_own_files_are_not_work(self, bench: Bench) -> None:
        script = "mkdir -p .mine/x; touch .mine/x/y .mined; ln -s /etc .mine-too; echo 1 > work.txt"
        agent = ExecutorCommand(argv=("sh", "-c", script), litter=(".mine*",))
        await CommandExecutor("mine", agent, bench.sandbox, bench.settings).work(bench.session())
        assert sorted(path.name for path in bench.path.iterdir()) == [".git", "greet.py", "test_greet.py", "work.txt"]

    async def test_placeholders_and_models_that_mean_nothing(self, bench: Bench) -> None:
        def made(**fields: Any) -> CommandExecutor:
            return CommandExecutor("mine", ExecutorCommand(**fields), bench.sandbox, bench.settings)

        with pytest.raises(
            ConfigError, match=r"executors > mine > argv: \{modle\} means nothing here; known: \{prompt\}"
        ):
            await made(argv=("echo", "{modle}")).work(bench.session())
        with pytest.raises(ConfigError, match="executors > mine > argv: the prompt is too long"):
            await made(argv=("echo", "{prompt}")).work(bench.session(feedback="x" * 200_000))
        with pytest.raises(MissingTool, match="no 'no-such-agent' on PATH"):
            await made(argv=("no-such-agent",)).work(bench.session())
        agent = made(argv=("true",), provider="ollama")
        with pytest.raises(ConfigError, match="ollama has no model in tier 'haiku'"):
            await agent.work(bench.session())

    async def test_an_agent_without_a_network_reaches_its_model_alone(self, bench: Bench) -> None:
        with WireServer(lambda _: {"text": "hello"}, key=KEY) as server:
            settings = bench.settings.model_copy(update={"providers": provider("anthropic", server)})
            ask = (
                'curl -sS -X POST "$1/v1/messages" -H "x-api-key: $2" -H "content-type: application/json" '
                '-d \'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}\'; echo; '
                f"curl -sS -m 2 {server.url}/v1/models 2>&1 || echo closed; "
                'curl -sS "$1/other" -o /dev/null -w "%{{http_code}}"'
            )
            agent = ExecutorCommand(argv=("sh", "-c", ask, "sh", "{base_url}", "{key}"), provider="anthropic")
            worked = await CommandExecutor("curl", agent, bench.sandbox, settings).work(bench.session())
        assert worked.outcome == "finished", worked.error
        said = worked.summary.splitlines()
        assert json.loads(said[0])["content"][0]["text"] == "hello"
        assert said[-1].endswith("404")
        if bench.sandbox.mode == "bubblewrap":
            assert "closed" in worked.summary
        assert worked.calls[0].usage.requests == 1 and worked.calls[0].usage.unpriced_requests == 1

    def test_presets_can_be_replaced(self, bench: Bench) -> None:
        assert {"codex", "opencode", "aider"} <= set(built_in_presets())
        mine = ExecutorCommand(argv=("mine",))
        settings = bench.settings.model_copy(update={"executors": {"codex": mine}})
        assert preset("codex", settings) is mine and preset("nobody", settings) is None


class TestToolLoopInLandlock(TestToolLoop):
    MODE = "landlock"


class TestCommandInLandlock(TestCommand):
    MODE = "landlock"


def provider(name: str, server: WireServer) -> dict[str, ProviderSettings]:
    shape = "anthropic" if name == "anthropic" else "openai_responses"
    return {name: ProviderSettings.model_validate({"format": shape, "base_url": server.url, "api_key": KEY})}


def deed_of(deed: str) -> Answer:
    """A model that does the deed with the shell tool that the agent offers, then says FIXED."""
    command = command_of(deed)
    shells = {
        "Bash": {"command": command, "description": "Do it", "timeout": 600000},
        "exec_command": {"cmd": command, "yield_time_ms": 30000},
        "bash": {"command": command, "description": "Do it", "timeout": 600000},
    }

    def answer(request: WireRequest) -> dict[str, Any]:
        asked = json.dumps(request.body.get("input") or request.body.get("messages"))
        if '"tool_result"' in asked or '"function_call_output"' in asked:
            return {"text": FIXED}
        offered = {str(tool.get("name")) for tool in request.body.get("tools", ())}
        shell = next((name for name in shells if name in offered), None)
        return {"tools": [{"name": shell, "input": shells[shell]}]} if shell else {"text": "A title"}

    return answer


class WithRealAgent(ExecutorContract):
    """The contract for an agent that calls its model over the wire."""

    PROVIDER = "anthropic"

    @pytest.fixture
    def wire(self, bench: Bench) -> Iterator[Callable[[Answer], WireServer]]:
        open_servers: list[WireServer] = []

        def serve(answer: Answer) -> WireServer:
            server = WireServer(answer, key=KEY)
            open_servers.append(server.__enter__())
            bench.settings = bench.settings.model_copy(update={"providers": provider(self.PROVIDER, server)})
            return server

        yield serve
        for server in open_servers:
            server.__exit__()

    def make(self, bench: Bench) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def executor_that(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> ExecutorThat:
        def make(deed: str) -> Any:
            wire(deed_of(deed))
            return self.make(bench)

        return make

    async def test_requests_carry_the_session_and_are_priced(
        self, bench: Bench, wire: Callable[[Answer], WireServer]
    ) -> None:
        server = wire(deed_of("fixes"))
        worked = await self.make(bench).work(bench.session())
        assert worked.outcome == "finished", worked.error
        assert {call.headers.get("x-model-affinity") for call in server.calls} == {"run-1/t1/0"}
        usage, billed = total(worked.calls), server.billed
        assert usage.requests == len(server.calls)
        assert (usage.total_input, usage.output_tokens) == (billed.total_input, billed.output_tokens)
        assert usage.cost_usd == cost_of(worked.model, usage) and usage.cost_usd > Decimal(0)

    async def test_a_refusing_model_is_no_success(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> None:
        wire(lambda _: {"error": {"kind": "bad_request", "message": "the model is on holiday"}})
        worked = await self.make(bench).work(bench.session())
        assert worked.outcome == "error" and "on holiday" in (worked.error or "")

    async def test_a_refused_key_stops_everything(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> None:
        wire(lambda _: {"error": {"kind": "auth"}})
        with pytest.raises(ModelAuthError, match=f"{self.PROVIDER} refused the key"):
            await self.make(bench).work(bench.session())

    async def test_without_a_key_it_says_which(self, bench: Bench) -> None:
        with pytest.raises(ModelAuthError, match=f"no key for {self.PROVIDER}"):
            await self.make(bench).work(bench.session())


@pytest.mark.needs_claude
class TestClaudeCode(WithRealAgent):
    def make(self, bench: Bench) -> ClaudeCode:
        return ClaudeCode(bench.sandbox, bench.settings)

    async def test_an_outage_is_no_failure_of_the_work(
        self, bench: Bench, wire: Callable[[Answer], WireServer]
    ) -> None:
        wire(lambda _: {"error": {"kind": "unavailable"}})
        models = bench.settings.models.model_copy(update={"retries": 0})
        bench.settings = bench.settings.model_copy(update={"models": models})
        with pytest.raises(ModelUnavailable, match="anthropic answered HTTP 529"):
            await self.make(bench).work(bench.session())

    @pytest.mark.parametrize("variable", ["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"])
    async def test_a_token_serves_as_well_as_a_key(
        self,
        bench: Bench,
        wire: Callable[[Answer], WireServer],
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
    ) -> None:
        server = wire(deed_of("fixes"))
        monkeypatch.setenv(variable, KEY)
        own = ProviderSettings.model_validate({"format": "anthropic", "base_url": server.url})
        bench.settings = bench.settings.model_copy(update={"providers": {"anthropic": own}})
        worked = await self.make(bench).work(bench.session())
        assert worked.outcome == "finished", worked.error
        assert {call.headers.get("authorization") for call in server.calls} == {f"Bearer {KEY}"}
        oauth = variable == "CLAUDE_CODE_OAUTH_TOKEN"
        assert all(("oauth" in call.headers.get("anthropic-beta", "")) == oauth for call in server.calls)

    async def test_a_denied_permission_is_a_failure(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> None:
        def answer(request: WireRequest) -> dict[str, Any]:
            if "tool_result" in json.dumps(request.body["messages"]):
                return {"text": "I could not."}
            return {
                "tools": [
                    {
                        "name": "Write",
                        "input": {"file_path": str(bench.path / ".claude/settings.json"), "content": "{}"},
                    }
                ]
            }

        wire(answer)
        worked = await self.make(bench).work(bench.session())
        assert worked.outcome == "error" and "denied" in (worked.error or "") and "Write" in (worked.error or "")

    async def test_turns_and_money_are_capped(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> None:
        server = wire(lambda request: {"tools": [{"name": "Bash", "input": {"command": f"echo {request.at}"}}]})
        worked = await self.make(bench).work(bench.session(limits={"turns": 3}))
        assert worked.outcome == "limit" and "max_turns" in (worked.error or "")
        assert len(server.calls) <= 4

    async def test_the_repositorys_settings_run_nothing(
        self, bench: Bench, wire: Callable[[Answer], WireServer]
    ) -> None:
        hook = {"hooks": [{"type": "command", "command": "touch hooked"}]}
        (bench.path / ".claude").mkdir()
        (bench.path / ".claude/settings.json").write_text(
            json.dumps({"hooks": {"SessionStart": [hook], "PreToolUse": [{"matcher": "*", **hook}]}})
        )
        wire(deed_of("fixes"))
        assert (await self.make(bench).work(bench.session())).outcome == "finished"
        assert not (bench.path / "hooked").exists()


@pytest.mark.needs_claude
class TestClaudeCodeInLandlock(TestClaudeCode):
    MODE = "landlock"


class CappedByTheDoor(WithRealAgent):
    """For agents that have no cap of their own."""

    async def test_turns_are_capped(self, bench: Bench, wire: Callable[[Answer], WireServer]) -> None:
        def answer(request: WireRequest) -> dict[str, Any]:
            reply = deed_of("fixes")(request)
            if reply != {"text": FIXED}:
                return reply
            return deed_of("fixes")(replace(request, body={**request.body, "input": [], "messages": []}))

        server = wire(answer)
        worked = await self.make(bench).work(bench.session(limits={"turns": 3}))
        assert worked.outcome == "limit" and "limits.turns" in (worked.error or "")
        assert len(server.calls) == 3


@pytest.mark.needs_codex
class TestCodex(CappedByTheDoor):
    PROVIDER = "openai"

    def make(self, bench: Bench) -> CommandExecutor:
        return CommandExecutor("codex", built_in_presets()["codex"], bench.sandbox, bench.settings)


@pytest.mark.needs_opencode
@pytest.mark.timeout(180)  # it starts in 5 seconds on an idle machine
class TestOpencode(CappedByTheDoor):
    def make(self, bench: Bench) -> CommandExecutor:
        return CommandExecutor("opencode", built_in_presets()["opencode"], bench.sandbox, bench.settings)
