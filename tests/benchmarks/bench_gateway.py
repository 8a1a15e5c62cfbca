"""What the gateway adds, against a direct call and LiteLLM's proxy, in one run on one machine.

    python tests/benchmarks/bench_gateway.py [--requests 3000] [--litellm /path/to/litellm] [--soak 100000]

Requests per second of processor time (user and system, of the proxy alone) is the figure that a busy machine does not
spoil. LiteLLM is installed apart (`pip install 'litellm[proxy]'`); without it its rows are left out, and it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import httptools

TEXT = "Say hello. " * 60
REPLIES = {
    "/v1/messages": {"id": "m", "type": "message", "role": "assistant", "model": "x",
                     "stop_reason": "end_turn",
                     "content": [{"type": "text", "text": "Hello."}],
                     "usage": {"input_tokens": 300, "output_tokens": 5}},
    "/v1/chat/completions": {"id": "c", "object": "chat.completion", "created": 1, "model": "x", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}},
}  # fmt: skip
CHUNKS = [b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":'
          b'{"role":"assistant","content":"Hello"},"finish_reason":null}]}\n\n'] * 20 + [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]  # fmt: skip


class Provider(asyncio.Protocol):
    """The scripted model server: as little as can be between the socket and the answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.url, self.body = transport, b"", b""
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if b'"stream": true' in self.body or b'"stream":true' in self.body:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in CHUNKS)
            self.transport.write(head + body + b"0\r\n\r\n")  # type: ignore[attr-defined]
            return
        path = self.url.decode().partition("?")[0]
        body = json.dumps(REPLIES.get(path, REPLIES["/v1/chat/completions"])).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)  # type: ignore[attr-defined]


class Caller(asyncio.Protocol):
    """One keep-alive connection; `first` and `done` are seconds of the clock."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.parser, self.first = httptools.HttpResponseParser(self), 0.0
        self.began = time.perf_counter()
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.future

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.first = self.first or time.perf_counter()

    def on_message_complete(self) -> None:
        if not self.future.done():
            self.future.set_result(self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "future") and not self.future.done():
            self.future.set_exception(error or ConnectionError("closed"))


def request(path: str, model: str, stream: bool) -> bytes:
    body = json.dumps({"model": model, "max_tokens": 64, "stream": stream,
                       "messages": [{"role": "user", "content": TEXT}]}).encode()  # fmt: skip
    head = (f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer sk-bench\r\n"
            f"anthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n")  # fmt: skip
    return head.encode() + body


async def load(port: int, payload: bytes, count: int, callers: int) -> tuple[list[float], list[float]]:
    """Milliseconds of whole answers and of first bytes."""
    loop = asyncio.get_running_loop()
    whole: list[float] = []
    first: list[float] = []

    async def one(number: int) -> None:
        _, caller = await loop.create_connection(Caller, "127.0.0.1", port)
        for _ in range(number):
            status = await caller.ask(payload)
            if status != 200:
                raise SystemExit(f"port {port} answered {status}")
            whole.append((time.perf_counter() - caller.began) * 1000)
            first.append((caller.first - caller.began) * 1000)
        caller.transport.close()

    await asyncio.gather(*(one(count // callers) for _ in range(callers)))
    return sorted(whole), sorted(first)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1048576


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} did not answer")


def row(name: str, port: int, payload: bytes, count: int, pid: int | None) -> dict[str, float | str]:
    asyncio.run(load(port, payload, 100, 1))
    whole, first = asyncio.run(load(port, payload, count, 1))
    before = cpu_seconds(pid) if pid else 0.0
    asyncio.run(load(port, payload, count, 8))
    used = cpu_seconds(pid) - before if pid else 0.0
    return {"name": name, "p50": whole[len(whole) // 2], "p99": whole[int(len(whole) * 0.99)],
            "first": first[len(first) // 2], "per_core": count / used if used else 0.0}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="LiteLLM's program")
    parser.add_argument("--soak", type=int, default=0, help="that many requests more, and the memory before and after")
    parser.add_argument("--provider", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.provider:
        asyncio.run(serve_provider(arguments.provider))
        return
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            compare(arguments, Path(folder), started)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()


async def serve_provider(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


def compare(arguments: argparse.Namespace, folder: Path, started: list[subprocess.Popen[bytes]]) -> None:
    up, ours = free_port(), free_port()
    started.append(subprocess.Popen([sys.executable, __file__, "--provider", str(up)]))
    base = f"http://127.0.0.1:{up}/v1"
    rows = [{"model": f"{name}/*", "base_url": base, "api_key": "sk-bench"} for name in ("anthropic", "openai")]
    (folder / "harness.yaml").write_text(json.dumps({"version": 1, "gateway": {"models": rows}}))
    command = [
        sys.executable,
        "-m",
        "harness",
        "serve",
        "-C",
        str(folder),
        "--port",
        str(ours),
        "--log-level",
        "warning",
    ]
    gateway = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    started.append(gateway)
    wait_for(f"http://127.0.0.1:{ours}/healthz", gateway)
    count, chat, messages = arguments.requests, "/v1/chat/completions", "/v1/messages"
    plain = [
        row("direct", up, request(chat, "openai/m", False), count, None),
        row("harness, pass-through", ours, request(chat, "openai/m", False), count, gateway.pid),
        row("harness, translated", ours, request(messages, "openai/m", False), count, gateway.pid),
    ]
    streamed = [
        row("direct", up, request(chat, "openai/m", True), count, None),
        row("harness, pass-through", ours, request(chat, "openai/m", True), count, gateway.pid),
        row("harness, translated", ours, request(messages, "openai/m", True), count, gateway.pid),
    ]
    if arguments.litellm:
        other, port = litellm(arguments.litellm, folder, base, started)
        few = max(200, count // 10)
        plain.append(row("LiteLLM", port, request(chat, "openai-m", False), few, other.pid))
        streamed.append(row("LiteLLM", port, request(chat, "openai-m", True), few, other.pid))
    show("Whole answers", plain)
    show("Streamed answers (22 events)", streamed)
    if not arguments.litellm:
        print("LiteLLM is not installed: its rows are missing. pip install 'litellm[proxy]', then --litellm PATH")
    if arguments.soak:
        soak(ours, gateway.pid, request(chat, "openai/m", False), arguments.soak)


def litellm(
    program: str, folder: Path, base: str, started: list[subprocess.Popen[bytes]]
) -> tuple[subprocess.Popen[bytes], int]:
    port, file = free_port(), folder / "litellm.yaml"
    entry = {"model_name": "openai-m", "litellm_params": {"model": "openai/m", "api_base": base, "api_key": "sk-bench"}}
    file.write_text(json.dumps({"model_list": [entry]}))
    variables = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [program, "--config", str(file), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    started.append(process)
    wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
    return process, port


def show(title: str, rows: list[dict[str, float | str]]) -> None:
    direct = rows[0]
    rival = next((float(r["per_core"]) for r in rows if r["name"] == "LiteLLM"), 0.0)
    print(
        f"\n{title}\n{'':24}{'p50 ms':>9}{'added':>8}{'p99 ms':>9}{'1st byte added':>16}"
        f"{'req/s/core':>12}{'× LiteLLM':>11}"
    )
    for r in rows:
        added, first = float(r["p50"]) - float(direct["p50"]), float(r["first"]) - float(direct["first"])
        core = f"{r['per_core']:>12,.0f}" if r["per_core"] else f"{'—':>12}"
        ratio = f"{float(r['per_core']) / rival:>11.1f}" if rival and r["per_core"] else f"{'—':>11}"
        print(f"{r['name']:24}{r['p50']:>9.2f}{added:>8.2f}{r['p99']:>9.2f}{first:>16.2f}{core}{ratio}")


def soak(port: int, pid: int, payload: bytes, count: int) -> None:
    asyncio.run(load(port, payload, count // 10, 8))
    before = resident_mb(pid)
    asyncio.run(load(port, payload, count, 8))
    print(f"\nMemory after {count // 10:,} requests {before:.1f} MB, after {count:,} more {resident_mb(pid):.1f} MB")


if __name__ == "__main__":
    main()
