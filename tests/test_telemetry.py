"""Traces as a collector gets them: the tree of a run, what is in a span and what must not be."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest

from harness.budget import Meter
from harness.cli import main
from harness.config.settings import Settings
from harness.errors import ModelUnavailable
from harness.models.client import PooledModelClient
from harness.models.genai import TracedModelClient
from harness.spans import ISSUE, RUN, TASK, Spans, happened, place
from harness.types import Message, ModelRequest, Text, TierPool
from tests.fakes.collector import Collector, collecting
from tests.fakes.places import place as repository
from tests.fakes.places import row
from tests.wire.server import WireServer

start = pytest.importorskip("harness.telemetry", reason="pip install 'beads-harness[otel]'").start

KEY = "sk-ant-" + "a1B2" * 8
PLAN = {
    "summary": "two files",
    "tasks": [
        {"id": name, "title": f"Write {name}", "instructions": f"marzipan {KEY}", "files": [f"{name}.txt"],
         "verify": [f"grep -q good {name}.txt"], "depends_on": [], "tier": None}
        for name in ("t1", "t2")
    ],
}  # fmt: skip


def worker(task: str, word: str, attempt: int) -> dict[str, Any]:
    turns = [
        {"tools": [{"name": "bash", "input": {"command": f"echo {word} > {task}.txt; echo marzipan"}}]},
        {"tools": [{"name": "finish", "input": {"summary": "Marzipan done."}}]},
    ]
    return {"when": {"phase": "execute", "task": task, "attempt": attempt}, "turns": turns}


REPLIES = [
    {"when": {"phase": "plan"}, "json": PLAN},
    worker("t1", "good", 1),
    worker("t2", "bad", 1),
    worker("t2", "good", 2),
]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


def run(folder: Path, *argv: str, **settings: Any) -> int:
    rows = [row("a", title="Two files", labels=["pipeline:plan-execute-review"])]
    root = repository(folder, rows, REPLIES, attempts_per_tier=2, **{"sandbox": {"mode": "none"}, **settings}).root
    return main(["run", "a", "--repo", str(root), *argv])


def test_the_tree_of_a_run(collector: Collector, tmp_path: Path) -> None:
    assert run(tmp_path / "r") == 0
    (root,) = collector.named("invoke_workflow")
    assert {span.trace for span in collector.spans} == {root.trace}
    assert root.parent == "" and root.service == "harness" and not root.error
    assert root.attributes["harness.run.id"] == "a-r1" and root.attributes["harness.status"] == "done"
    whole = ("invoke_workflow plan-execute-review",)
    assert {tuple(collector.lineage(span)[:-1]) for span in collector.named("chat")} == {
        (*whole, "phase plan"),
        (*whole, "phase execute", "task", "invoke_agent tool_loop"),
    }
    attempts = {
        (span.attributes["harness.task.id"], span.attributes["harness.attempt"]): span
        for span in collector.named("invoke_agent")
    }
    assert {key: span.error for key, span in attempts.items()} == {("t1", 1): False, ("t2", 1): True, ("t2", 2): False}
    failed = attempts["t2", 1]
    assert failed.attributes["error.type"] == failed.message == failed.attributes["harness.outcome"] == "failed"
    assert [span.error for span in collector.named("verify")].count(True) == 1
    tasks = {span.attributes["harness.task.id"]: span for span in collector.named("task")}
    assert not tasks["t2"].error and tasks["t2"].attributes["harness.attempts"] == 2
    assert len(collector.named("execute_tool bash")) == 3


def test_a_model_call_has_the_genai_attributes_and_adds_up(collector: Collector, tmp_path: Path) -> None:
    run(tmp_path / "r")
    (root,) = collector.named("invoke_workflow")
    calls = collector.named("chat")
    assert len(calls) == root.attributes["harness.requests"] == 7
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_creation.input_tokens"):
        assert sum(call.attributes[name] for call in calls) == root.attributes[name]
    assert root.attributes["gen_ai.usage.input_tokens"] > 0
    cost = sum(call.attributes["harness.cost.usd"] for call in calls)
    assert cost == pytest.approx(root.attributes["harness.cost.usd"])
    first = next(call for call in calls if call.attributes.get("harness.task.id") == "t1")
    told = first.attributes
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "anthropic")
    assert told["gen_ai.request.model"] == told["gen_ai.response.model"] == told["harness.model"].partition("/")[2]
    assert told["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert {"gen_ai.request.max_tokens", "gen_ai.conversation.id", "gen_ai.usage.cache_creation.input_tokens",
            "harness.tier", "harness.attempt", "harness.turn", "harness.issue.id"} <= told.keys()  # fmt: skip


def test_no_content_unless_asked_for_and_no_secret_ever(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "r")
    sent = b"".join(collector.raw)
    assert b"arzipan" not in sent and KEY.encode() not in sent
    collector.raw.clear()
    run(tmp_path / "s", tracing={"content": True})
    sent = b"".join(collector.raw)
    assert b"marzipan" in sent and b"Marzipan done." in sent and KEY.encode() not in sent
    calls = [span for span in collector.named("chat") if "gen_ai.input.messages" in span.attributes]
    assert '"role": "user"' in calls[-1].attributes["gen_ai.input.messages"]
    collector.raw.clear()
    run(tmp_path / "t", tracing={"content": True}, content=False)
    assert b"arzipan" not in b"".join(collector.raw)


def test_the_caller_of_the_command_may_have_a_trace_already(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    run(tmp_path / "r")
    (root,) = collector.named("invoke_workflow")
    assert (root.trace, root.parent) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert root.service == "nightly"


@pytest.mark.parametrize("variable", [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_switched_off(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]
) -> None:
    monkeypatch.setenv(*variable)
    assert run(tmp_path / "r") == 0
    assert collector.raw == []


def test_settings_may_switch_it_off(collector: Collector, tmp_path: Path) -> None:
    assert run(tmp_path / "r", tracing={"enabled": False}) == 0
    assert collector.raw == []


def test_an_exporter_that_is_not_there(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert run(tmp_path / "r") == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in capsys.readouterr().err


def test_a_collector_that_is_down_costs_neither_the_run_nor_much_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert run(tmp_path / "r") == 0
    assert any(record.levelno >= logging.WARNING for record in caplog.records)


def a_request(*models: str) -> ModelRequest:
    messages = (Message(role="user", content=(Text(text="hello"),)),)
    return ModelRequest(pool=TierPool(tier="haiku", models=models), messages=messages, phase="plan", run_id="r")


async def test_retries_and_fallbacks_are_events_and_an_outage_is_an_error(collector: Collector) -> None:
    bad = {"error": {"kind": "unavailable"}}
    with WireServer([bad, bad, {"text": "hi"}, bad, bad, bad, bad]) as server:
        providers = {"anthropic": {"base_url": server.url, "api_key": "k"}}
        settings = Settings.model_validate({"providers": providers, "models": {"retries": 1}})
        spans = start(settings)
        inner = PooledModelClient(settings, sleep=lambda seconds: anyio.lowlevel.checkpoint())
        models = TracedModelClient(inner, spans)
        try:
            names = ("anthropic/claude-haiku-5-5", "anthropic/claude-sonnet-5-5")
            reply = await models.complete(a_request(*names), Meter())
            assert reply.model == names[1]
            inner.forget_failures()
            with pytest.raises(ModelUnavailable):
                await models.complete(a_request(*names), Meter())
        finally:
            await models.aclose()
            await anyio.to_thread.run_sync(spans.close)
    good, bad_call = collector.named("chat")
    told = [(name, facts["harness.model"], facts["error.type"], facts["http.response.status_code"])
            for name, facts in good.events]  # fmt: skip
    assert told == [
        ("harness.retry", names[0], "transient", 529),
        ("harness.fallback", names[0], "transient", 529),
    ]
    assert good.attributes["gen_ai.request.model"] == "claude-haiku-5-5" and not good.error
    assert good.attributes["gen_ai.response.model"] == "claude-sonnet-5-5"
    assert bad_call.error and bad_call.attributes["error.type"] == bad_call.message == "ModelUnavailable"
    assert [name for name, _ in bad_call.events].count("harness.fallback") == 2
    assert not any("traceparent" in call.headers for call in server.calls)


async def test_trace_context_goes_to_a_provider_only_where_that_is_asked_for(collector: Collector) -> None:
    with WireServer([{"text": "hi"}]) as server:
        data = {"providers": {"anthropic": {"base_url": server.url, "api_key": "k"}}, "tracing": {"propagate": True}}
        settings = Settings.model_validate(data)
        spans = start(settings)
        models = TracedModelClient(PooledModelClient(settings), spans)
        await models.complete(a_request("anthropic/claude-haiku-5-5"), Meter())
        await models.aclose()
        await anyio.to_thread.run_sync(spans.close)
    (call,) = collector.named("chat")
    assert server.calls[0].headers["traceparent"].split("-")[1:3] == [call.trace, call.id]


def test_names_of_the_work_hold_inside_and_are_gone_outside() -> None:
    spans = Spans()
    with spans.span("a", {RUN: "r", ISSUE: "i"}), spans.span("b", {TASK: "t", ISSUE: None}):
        happened("anything", {})
        assert place() == {"run": "r", "issue": "i", "task": "t"}
    assert place() == {}


def test_without_the_extra_the_cure_is_told(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "harness.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert run(tmp_path / "r") == 2
    said = capsys.readouterr().err
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said and "pip install 'beads-harness[otel]'" in said
    assert "tracing: {enabled: false}" in said
