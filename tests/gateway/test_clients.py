"""Real coding agents through the gateway, each editing a file: same format, and translated."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.proc import Completed, run
from tests.gateway.running import RunningGateway
from tests.wire.server import WireRequest, WireServer

TASK = "Create b.txt holding the word new"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def wire(folder: Path) -> Iterator[WireServer]:
    """A model that writes the file with whichever tool it is offered, and then is done."""
    file = str(folder / "b.txt")
    calls: dict[str, dict[str, Any]] = {
        "Write": {"file_path": file, "content": "new\n"}, "write": {"filePath": file, "content": "new\n"},
        "exec_command": {"cmd": f"echo new > {file}"}, "shell_command": {"command": f"echo new > {file}"},
        "shell": {"command": ["bash", "-c", f"echo new > {file}"]},
    }  # fmt: skip

    def answer(request: WireRequest) -> dict[str, Any]:
        tool = next((name for name in calls if name in request.facts.offers), None)
        if tool is None or request.facts.turn > 1:
            return {"text": "Done."}
        return {"text": "I write it.", "tools": [{"name": tool, "input": calls[tool]}]}

    with WireServer(answer) as server:
        yield server


def gateway_to(wire: WireServer, model: str) -> RunningGateway:
    rows = [{"model": f"{model.partition('/')[0]}/*", "base_url": wire.url, "api_key": "sk-upstream-0123456789"}]
    return RunningGateway({"models": rows, "scenarios": {"chains": {"default": [model]}}})


async def client(argv: list[str], folder: Path, variables: dict[str, str]) -> Completed:
    home = folder.parent / "agent-home"
    home.mkdir(exist_ok=True)
    program = shutil.which(argv[0])
    assert program is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **variables}
    return await run([program, *argv[1:]], cwd=folder, env=environment, timeout=200)


@pytest.mark.needs_claude
@pytest.mark.timeout(240)
@pytest.mark.parametrize("model,wired", [("anthropic/claude-sonnet-5-5", "messages"), ("groq/gpt-x", "chat"),
                                         ("chatgpt/gpt-x", "responses")])  # fmt: skip
async def test_claude_code_edits_a_file(wire: WireServer, folder: Path, model: str, wired: str) -> None:
    with gateway_to(wire, model) as gateway:
        variables = {"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_API_KEY": "sk-client", "IS_SANDBOX": "1",
                     "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}  # fmt: skip
        argv = ["claude", "-p", TASK, "--permission-mode", "bypassPermissions", "--output-format", "json"]
        done = await client(argv, folder, variables)
        assert done.ok, done.output
        assert json.loads(done.stdout)["result"] == "Done."
        assert (folder / "b.txt").read_text() == "new\n"
        assert {call.wire for call in wire.calls} == {wired}
        gateway.wait_until(lambda: gateway.gateway.ledger.in_flight == 0)
        records = list(gateway.gateway.ledger.recent)
        assert [record.error for record in records] == [None] * len(records)
        assert all(record.session and record.usage for record in records)


@pytest.mark.needs_codex
@pytest.mark.timeout(240)
@pytest.mark.parametrize("model,wired", [("openai/gpt-x", "responses"), ("anthropic/claude-x", "messages"),
                                         ("groq/gpt-x", "chat")])  # fmt: skip
async def test_codex_edits_a_file(wire: WireServer, folder: Path, model: str, wired: str) -> None:
    with gateway_to(wire, model) as gateway:
        home = folder.parent / "codex-home"
        home.mkdir()
        provider = f'name = "gw"\nbase_url = "{gateway.url}/v1"\nenv_key = "GATEWAY_KEY"\nwire_api = "responses"\n'
        (home / "config.toml").write_text(
            f'model = "gpt-5-codex"\nmodel_provider = "gw"\n[model_providers.gw]\n{provider}'
        )
        argv = ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", TASK]
        done = await client(argv, folder, {"CODEX_HOME": str(home), "GATEWAY_KEY": "sk-client"})
        assert done.ok, done.output
        assert (folder / "b.txt").read_text() == "new\n"
        assert {call.wire for call in wire.calls} == {wired}


@pytest.mark.needs_opencode
@pytest.mark.timeout(240)
@pytest.mark.parametrize("model,wired", [("groq/gpt-x", "chat"), ("anthropic/claude-x", "messages")])
async def test_opencode_edits_a_file(wire: WireServer, folder: Path, model: str, wired: str) -> None:
    with gateway_to(wire, model) as gateway:
        options = {"baseURL": f"{gateway.url}/v1", "apiKey": "sk-client"}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "gw",
            "options": options,
            "models": {"m": {"name": "m"}},
        }
        (folder / "opencode.json").write_text(json.dumps({"provider": {"gw": provider}, "model": "gw/m"}))
        done = await client(["opencode", "run", TASK], folder, {})
        assert (folder / "b.txt").exists(), done.output
        assert {call.wire for call in wire.calls} == {wired}
