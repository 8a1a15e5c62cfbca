"""Streams: the first byte at once, hang-ups passed on, breaks told as the format's error event, pings let through."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from starlette.responses import JSONResponse, Response

from tests.gateway.raw_upstream import END, SSE, RawUpstream, chunk
from tests.gateway.running import RunningGateway, upstream
from tests.wire.server import WireRequest, WireServer

PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
BODIES: dict[str, dict[str, Any]] = {
    "messages": {
        "model": "anthropic/m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "x"}],
    },
    "chat": {"model": "openai/m", "stream": True, "messages": [{"role": "user", "content": "x"}]},
    "responses": {"model": "openai/m", "stream": True, "input": "x"},
}
QUESTION: Any = {"role": "user", "content": "x"}
START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}\n\n'


def test_the_first_event_is_not_held_and_the_rest_is_untouched() -> None:
    rest = [
        b'event: ping\ndata: {"type": "ping"}\n\n: a comment\n\n',
        b"event: never_heard_of\r\ndata: {}\r\n\r\n",
        b"data: tail",
    ]

    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        writer.write(SSE + chunk(START))
        await up.wait()
        for part in rest:
            writer.write(chunk(part[:7]) + chunk(part[7:]))
        writer.write(END)
        await writer.drain()

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        with httpx2.stream("POST", gateway.url + PATHS["messages"], json=BODIES["messages"], timeout=5) as reply:
            chunks = reply.iter_raw()
            assert next(chunks) == START  # the provider is still waiting for us
            up.go_on.set()
            assert b"".join(chunks) == b"".join(rest)


def test_a_hang_up_cancels_the_call() -> None:
    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        writer.write(SSE + chunk(START))
        await asyncio.sleep(30)

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        with httpx2.stream("POST", gateway.url + PATHS["messages"], json=BODIES["messages"]) as reply:
            next(reply.iter_raw())
        assert up.hung_up.wait(5)
        gateway.wait_until(lambda: bool(gateway.gateway.ledger.recent))
        assert gateway.gateway.ledger.recent[0].error == "the client hung up"
        assert gateway.gateway.ledger.in_flight == 0


def test_a_hang_up_before_the_answer_cancels_the_call() -> None:
    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        await asyncio.sleep(30)

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(gateway.url + PATHS["chat"], json=BODIES["chat"], timeout=0.5)
        assert up.hung_up.wait(5)


@pytest.mark.parametrize("form", PATHS)
def test_a_break_in_the_middle_is_an_error_event(form: str) -> None:
    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        writer.write(SSE + chunk(START if form == "messages" else b'data: {"id":"c","choices":[]}\n\n'))
        writer.write(chunk(b'event: content_block_delta\ndata: {"type":"content_blo'))
        await writer.drain()
        writer.transport.abort()

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        text = httpx2.post(gateway.url + PATHS[form], json=BODIES[form]).text
        last = text.rstrip().split("\n\n")[-1]
        assert "content_blo" not in text  # half an event is nobody's
        assert last.startswith(
            {"messages": "event: error\n", "chat": 'data: {"error"', "responses": "event: error\n"}[form]
        )
        assert text.count("message_start") <= 2 and up.requests == 1  # never a second answer after bytes were sent


@pytest.mark.parametrize("kind", ["dies", "stream_error"])
@pytest.mark.parametrize("target", ["anthropic/m", "openai/m"])
def test_sdks_see_the_break_as_an_error(kind: str, target: str) -> None:
    with (
        WireServer(lambda request: {"error": {"kind": kind}}) as wire,
        RunningGateway({"models": upstream(wire.url)}) as gw,
    ):
        with anthropic.Anthropic(base_url=gw.url, api_key="k", max_retries=0) as client:
            with pytest.raises(anthropic.APIError):
                with client.messages.stream(model=target, max_tokens=9, messages=[QUESTION]) as stream:
                    stream.get_final_message()
        with openai.OpenAI(base_url=gw.url + "/v1", api_key="k", max_retries=0) as chat:
            with pytest.raises(openai.APIError):
                list(chat.chat.completions.create(model=target, messages=[QUESTION], stream=True))


def test_too_many_at_once_are_told_to_wait() -> None:
    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        writer.write(SSE + chunk(START))
        await up.wait()

    section = {"limits": {"concurrent": 1}}
    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url), **section}) as gateway:
        with httpx2.stream("POST", gateway.url + PATHS["messages"], json=BODIES["messages"]) as first:
            chunks = first.iter_raw()
            next(chunks)
            second = httpx2.post(gateway.url + PATHS["messages"], json=BODIES["messages"])
            assert second.status_code == 429 and second.headers["retry-after"] == "1"
            assert second.json()["error"]["type"] == "rate_limit_error"
            assert httpx2.get(gateway.url + "/healthz").status_code == 200


def test_a_slow_client_holds_nobody_up() -> None:
    flood = b"data: " + b"x" * 65536 + b"\n\n"

    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        writer.write(SSE)
        for _ in range(400):
            writer.write(chunk(flood))
            await writer.drain()
        writer.write(END)
        await writer.drain()

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
            body = b'{"model":"openai/m","stream":true,"messages":[{"role":"user","content":"x"}]}'
            slow.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            gateway.wait_until(lambda: up.requests == 1)
            assert len(httpx2.post(gateway.url + PATHS["chat"], json=BODIES["chat"]).content) == 400 * len(flood)


@pytest.mark.parametrize(
    "head,body,status,told",
    [
        (b"HTTP/1.1 503 Unavailable\r\ncontent-type: text/html\r\n", b"<html>down</html>", 503, "down"),
        (b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/\r\n", b"", 502, "redirect"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n", b'{"cut":', 502, "broke"),
        (b"nonsense\r\n", b"", 502, "not valid HTTP"),
    ],
)
def test_answers_that_are_none(head: bytes, body: bytes, status: int, told: str) -> None:
    async def answer(writer: asyncio.StreamWriter, up: RawUpstream) -> None:
        length = b"" if b"content-length" in head else b"content-length: %d\r\n" % len(body)
        writer.write(head + length + b"\r\n" + body)
        await writer.drain()

    with RawUpstream(answer) as up, RunningGateway({"models": upstream(up.url)}) as gateway:
        reply = httpx2.post(gateway.url + PATHS["messages"], json={**BODIES["messages"], "stream": False}, timeout=10)
        assert reply.status_code == status, reply.text
        error = reply.json()
        assert error["type"] == "error" and told in error["error"]["message"], reply.text
        assert httpx2.get(gateway.url + "/healthz").status_code == 200


@pytest.mark.parametrize("target", ["anthropic/m", "openai/m"])
def test_nonsense_from_a_provider_is_told(target: str) -> None:
    with WireServer(lambda request: {"error": {"kind": "nonsense"}}) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            reply = httpx2.post(
                gateway.url + PATHS["messages"], json={**BODIES["messages"], "model": target, "stream": False}
            )
            assert reply.status_code in (200, 502)  # untouched where nobody has to read it


@pytest.mark.parametrize("target", ["anthropic/m", "openai/m"])
@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_a_proxy_compressed_are_read(target: str, stream: bool) -> None:
    """Plain text is asked for; not everything on the way to a provider honours that."""

    def compressed(request: WireRequest) -> Response:
        count = {"input_tokens": 1, "output_tokens": 1}
        message = {
            "type": "message",
            "id": "i",
            "model": "m",
            "content": [{"type": "text", "text": "ok"}],
            "usage": count,
        }
        choice = {"index": 0, "message": {"content": "ok"}, "delta": {"content": "ok"}, "finish_reason": "stop"}
        whole = {"id": "i", "model": "m", "choices": [choice]} if request.wire == "chat" else message
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}}
        event = whole if request.wire == "chat" else delta
        body = b"data: " + json.dumps(event).encode() + b"\n\n" if stream else json.dumps(whole).encode()
        kind = "text/event-stream" if stream else "application/json"
        return Response(gzip.compress(body), headers={"content-encoding": "gzip"}, media_type=kind)

    with WireServer(compressed) as wire, RunningGateway({"models": upstream(wire.url)}) as gateway:
        body = {**BODIES["messages"], "model": target, "stream": stream}
        reply = httpx2.post(gateway.url + PATHS["messages"], json=body)
        assert reply.status_code == 200 and '"ok"' in reply.text, reply.text
        assert "content-encoding" not in reply.headers


def test_metrics_are_prometheus_text() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    with WireServer(lambda request: {"text": "ok", "usage": {"input": 10, "output": 3}}) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            for model in ("anthropic/m", 'openai/"quoted"\\'):
                httpx2.post(
                    gateway.url + PATHS["messages"], json={**BODIES["messages"], "model": model, "stream": False}
                )
            families = {
                f.name: f for f in parser.text_string_to_metric_families(httpx2.get(gateway.url + "/metrics").text)
            }
            counted = {s.labels["model"]: s.value for s in families["harness_requests"].samples}
            assert counted == {"anthropic/m": 1, 'openai/"quoted"\\': 1}
            assert families["harness_output_tokens"].samples[0].value == 3
            assert families["harness_request_seconds"].type == "histogram"


@pytest.mark.parametrize("form", ["chat", "responses"])
def test_what_a_translated_stream_used_is_counted_though_the_client_is_not_told(form: str) -> None:
    used = {"input": 10, "cache_read": 100, "cache_write_5m": 50, "output": 3}
    with WireServer(lambda request: {"text": "ok", "usage": used}) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            httpx2.post(gateway.url + PATHS[form], json={**BODIES[form], "model": "anthropic/m"})
            gateway.wait_until(lambda: len(gateway.gateway.ledger.recent) == 1)
            usage = gateway.gateway.ledger.recent[0].usage
            assert usage is not None and gateway.gateway.ledger.recent[0].complete
            counts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.output_tokens)
            assert counts == (10, 100, 50, 3)


def test_a_provider_without_streams_answers_a_client_that_wants_one() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}}
    message = {"role": "assistant", "content": "reading", "tool_calls": [call]}
    whole = {"id": "i", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
             "usage": {"prompt_tokens": 7, "completion_tokens": 3}}  # fmt: skip
    with WireServer(lambda request: JSONResponse(whole)) as wire:
        with RunningGateway({"models": upstream(wire.url)}) as gateway:
            client = anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0)
            with client.messages.stream(model="openai/m", max_tokens=9, messages=[QUESTION]) as stream:
                last: Any = stream.get_final_message()
            assert last.content[0].text == "reading" and last.content[1].input == {"path": "a"}
            assert last.stop_reason == "tool_use" and last.usage.output_tokens == 3


def test_a_model_that_did_not_answer_keeps_its_tokens() -> None:
    with (
        WireServer(lambda request: {"error": {"kind": "unavailable"}}) as bad,
        WireServer([{"text": "ok"}] * 3) as good,
    ):
        rows = [
            {"model": name, "base_url": url, "api_key": "k"}
            for name, url in (("anthropic/a", bad.url), ("anthropic/b", good.url))
        ]
        limits = [{"model": "anthropic/a", "tokens": 30, "per": "day"}]
        chains = {"default": ["anthropic/a", "anthropic/b"]}
        section = {
            "models": rows,
            "rate_limits": limits,
            "scenarios": {"chains": chains},
            "limits": {"cooldown_seconds": 0},
        }
        with RunningGateway(section) as gateway:
            for _ in range(3):
                body = {**BODIES["messages"], "model": "claude", "stream": False}
                assert httpx2.post(gateway.url + PATHS["messages"], json=body).status_code == 200
            assert len(bad.calls) == 3
