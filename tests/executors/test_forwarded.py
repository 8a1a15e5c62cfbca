"""An agent's calls through the door, as spans: real HTTP to a scripted provider, and what a collector gets of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx2
import pytest
from pydantic import SecretStr

from harness.config.settings import SandboxSettings, Settings
from harness.executors.model_door import PLACEHOLDER, model_door
from harness.models.providers import Provider
from harness.sandbox import detect
from harness.spans import RUN
from tests.fakes.collector import Collector, collecting
from tests.wire.server import WireServer

start = pytest.importorskip("harness.telemetry", reason="pip install 'beads-harness[otel]'").start

KEY = "k-" + "a1B2" * 8
BODY: dict[str, dict[str, Any]] = {
    "/v1/messages": {
        "model": "claude-haiku-5-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "marzipan"}],
    },
    "/v1/chat/completions": {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "marzipan"}]},
}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    with collecting() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


async def through_the_door(server: WireServer, tmp_path: Path, path: str, **more: Any) -> httpx2.Response:
    spans = start(Settings())
    sandbox = await detect(SandboxSettings(mode="none"), tmp_path)
    name = "anthropic" if path.endswith("messages") else "openai"
    provider = Provider(name, "anthropic", server.url, SecretStr(KEY))
    with spans.span("invoke_agent x", {RUN: "r"}):
        async with model_door(provider, sandbox, tmp_path, {}, spans=spans) as door, httpx2.AsyncClient() as client:
            key = {"x-api-key": PLACEHOLDER}
            answer = await client.post(f"{door.base_url}{path}", json={**BODY[path], **more}, headers=key)
    await anyio.to_thread.run_sync(spans.close)
    return answer


@pytest.mark.parametrize("path", BODY)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_call_is_a_span_with_its_usage(
    collector: Collector, tmp_path: Path, path: str, stream: bool
) -> None:
    usage = {"input": 11, "output": 7}
    options = {"stream_options": {"include_usage": True}} if stream and "chat" in path else {}
    with WireServer([{"text": "nougat", "usage": usage}]) as server:
        answer = await through_the_door(server, tmp_path, path, stream=stream, **options)
    assert answer.status_code == 200 and "nougat" in answer.text
    (call,) = collector.named("chat")
    assert collector.lineage(call) == ["invoke_agent x", call.name]
    assert call.attributes["gen_ai.request.model"] == BODY[path]["model"]
    assert call.attributes["gen_ai.request.stream"] is stream
    assert call.attributes["gen_ai.usage.input_tokens"] == 11 and call.attributes["gen_ai.usage.output_tokens"] == 7
    assert "harness.cost.usd" not in call.attributes and not call.error
    sent = b"".join(collector.raw)
    assert KEY.encode() not in sent and b"marzipan" not in sent and b"nougat" not in sent


async def test_a_refused_call_is_an_error(collector: Collector, tmp_path: Path) -> None:
    with WireServer([{"error": {"kind": "unavailable"}}]) as server:
        answer = await through_the_door(server, tmp_path, "/v1/messages")
    (call,) = collector.named("chat")
    assert answer.status_code == 529 and call.error and call.attributes["error.type"] == "529"


async def test_a_provider_out_of_reach_is_an_error(collector: Collector, tmp_path: Path) -> None:
    with WireServer([]) as server:
        pass
    answer = await through_the_door(server, tmp_path, "/v1/messages")
    (call,) = collector.named("chat")
    assert answer.status_code == 502 and call.error and call.attributes["error.type"] == "ConnectError"
