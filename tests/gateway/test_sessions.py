"""Sessions of running gateways with a real Redis: shared by replicas, and nothing stops when it goes away."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.gateway.running import RunningGateway
from tests.wire.server import WireServer

ROUTES = [
    {"name": "code", "description": "writing code", "examples": ["Write a function"], "models": ["openai/coder"]},
    {"name": "poems", "description": "poems and songs", "examples": ["Write a poem"], "models": ["openai/poet"]},
]


@dataclass
class Redis:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = shutil.which("redis-server") or "redis-server"
    arguments = ["--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen([server, *arguments], stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield Redis(port, process)
        process.kill()


def section(upstream: WireServer, redis: Redis) -> dict[str, Any]:
    return {
        "models": [{"model": "openai/*", "base_url": upstream.url, "api_key": "k"}],
        "routes": ROUTES,
        "session": {"url": redis.url, "ttl_seconds": 60},
    }


def ask(gateway: RunningGateway, text: str, session: str) -> httpx2.Response:
    body = {"model": "any", "messages": [{"role": "user", "content": text}]}
    url, headers = gateway.url + "/v1/chat/completions", {"x-model-affinity": session}
    return httpx2.post(url, json=body, headers=headers, timeout=15)


@pytest.mark.needs_redis
def test_two_gateways_share_pins_and_outlive_their_redis(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    with (
        WireServer(lambda request: {"text": "ok"}) as upstream,
        RunningGateway(section(upstream, redis)) as one,
        RunningGateway(section(upstream, redis)) as two,
    ):
        first = ask(one, "Write a function", "s1")
        assert first.headers["x-harness-model"] == "openai/coder"
        other = ask(two, "Write a poem", "s1")
        assert other.headers["x-harness-model"] == "openai/coder", "the replica honours the pin"
        assert "pinned" in other.headers["x-harness-reason"] and "x-harness-warning" not in other.headers
        assert ask(two, "Write a poem", "s2").headers["x-harness-model"] == "openai/poet"

        redis.process.kill()
        redis.process.wait()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            alone = ask(one, "Write a poem", "s1")
        assert alone.status_code == 200, alone.text
        assert alone.headers["x-harness-model"] == "openai/poet", "routed as if new"
        assert "the session is not pinned" in alone.headers["x-harness-warning"]
        assert httpx2.get(one.url + "/readyz").json()["problems"]
        assert any("sessions are not pinned until it is back" in line.getMessage() for line in caplog.records)
        assert ask(two, "Write a function", "s3").status_code == 200
