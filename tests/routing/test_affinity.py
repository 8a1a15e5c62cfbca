"""Sessions keep their models: in this process, in a real Redis, and when the store is away."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.routing.affinity import Affinity, MemoryPins, Session, session_of
from harness.routing.redis_pins import NAMESPACE, RedisPins
from harness.routing.switching import Pin, Proposal

SESSION = Session(id="s", key="s", explicit=True)
FIRST, SECOND = Proposal(models=("a/big", "b/next"), route="code"), Proposal(models=("c/small",), route="chat")


def port_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    arguments = ["--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen([server, *arguments], stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 10
        while not port_open(port) and time.monotonic() < until:
            time.sleep(0.02)
        yield port
        process.terminate()


async def test_the_first_decision_holds_until_its_time_is_over() -> None:
    now = [0.0]
    affinity = Affinity(MemoryPins(10, clock=lambda: now[0]), clock=lambda: now[0])
    assert await affinity.held(SESSION) is None
    assert (await affinity.settle(SESSION, FIRST)).pinned is False
    late = await affinity.settle(SESSION, SECOND)
    assert (late.models, late.route, late.pinned) == (FIRST.models, "code", True)
    now[0] = 9
    assert await affinity.held(SESSION) is not None  # and renewed
    now[0] = 18
    assert await affinity.held(SESSION) is not None
    now[0] = 28
    assert await affinity.held(SESSION) is None


def test_a_clients_own_session_is_split_by_model_and_tenant() -> None:
    headers = {"x-claude-code-session-id": "abc"}
    one, two = session_of(headers, requested_model="opus", tenant="t"), session_of(headers, requested_model="haiku")
    assert one is not None and two is not None
    assert (one.key, two.key, one.explicit) == ("t:abc/opus", "abc/haiku", False)
    assert session_of({}) is None


@pytest.mark.needs_redis
async def test_two_gateways_share_a_session_in_redis(redis_port: int) -> None:
    stores = [RedisPins(f"redis://127.0.0.1:{redis_port}", ttl_seconds=30) for _ in range(2)]
    here, there = (Affinity(store) for store in stores)
    await here.settle(SESSION, FIRST)
    held = await there.held(SESSION)
    assert held is not None and held.models == FIRST.models
    await stores[0]._redis.set(NAMESPACE + "odd", "no pin at all")
    assert await stores[0].get("odd") is None
    await stores[0].put("brief", Pin(anchor_model="m"), 0.2)
    assert 0 < await stores[0]._redis.ttl(NAMESPACE + "brief") <= 1
    for affinity in (here, there):
        await affinity.aclose()


async def test_without_redis_requests_are_routed_as_if_new() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: refused
        store = RedisPins(f"redis://:secret@127.0.0.1:{closed.getsockname()[1]}", connect_seconds=1)
        affinity = Affinity(store)
        assert (await affinity.settle(SESSION, FIRST)).models == FIRST.models
        assert (await affinity.settle(SESSION, SECOND)).models == SECOND.models
        assert affinity.problem and "secret" not in affinity.problem
        await affinity.aclose()


async def test_a_silent_redis_delays_one_request_and_not_all() -> None:
    """It takes connections and answers nothing: whoever comes after the first that waited goes on without it."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = RedisPins(f"redis://127.0.0.1:{silent.getsockname()[1]}", answer_seconds=0.2)
        affinity = Affinity(store)
        assert await affinity.held(SESSION) is None
        first = affinity.problem
        silent.close()  # asked again, it would now refuse, and say so
        assert (await affinity.settle(SESSION, FIRST)).models == FIRST.models
        assert first is not None and affinity.problem == "Redis does not answer (TimeoutError)"
        await affinity.aclose()
