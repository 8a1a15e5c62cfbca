"""The operations page: what it shows, to whom, and how it looks in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from harness.gateway import console
from harness.proc import run
from tests.gateway.running import RunningGateway, upstream
from tests.wire.server import WireServer

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    with WireServer(lambda request: {"text": "ok", "usage": {"input": 100, "output": 5, "cache_read": 300}}) as wire:
        chains = {"think": ["anthropic/claude-opus-5-5"], "default": ["anthropic/claude-haiku-5-5"]}
        section = {"models": upstream(wire.url), "scenarios": {"chains": chains}}
        with RunningGateway(section, pages=console.routes) as running:
            for text in ("plan the architecture", "hello"):
                ask(running, text, "claude-3-opus")
            ask(running, "hello again", NASTY)
            yield running


def ask(running: RunningGateway, text: str, model: str) -> None:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    headers = {"x-model-affinity": "session-1"} if "hello" in text else {}
    assert httpx2.post(running.url + "/v1/messages", json=body, headers=headers).status_code == 200


def test_it_shows_what_was_routed_where_and_why(gateway: RunningGateway) -> None:
    page = httpx2.get(gateway.url + "/").text
    figures = ("400 → 5", "75%", "$0.0")
    for told in (*figures, "claude-opus-5-5", "think", "without anything to build", "Pinned sessions", "session-1"):
        assert told in page.replace("&#x27;", "'"), told
    assert "http://" not in page and "https://" not in page and NASTY not in page
    assert "hello again" not in page  # prompts are nobody's business


def test_strangers_see_nothing(gateway: RunningGateway) -> None:
    for path in ("/", "/gateway/live"):
        assert httpx2.get(gateway.url + path, headers={"host": "evil.example"}).status_code == 401


@pytest.mark.needs_chromium
async def test_a_browser_draws_it_and_keeps_it_fresh(gateway: RunningGateway, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or "chromium"
    argv = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=5000",
    ]
    page = await run([*argv, "--dump-dom", gateway.url + "/"], timeout=18)
    assert "claude-opus-5-5" in page.stdout and ">live<" in page.stdout, page.output
    seen = len(gateway.gateway.ledger.recent)
    assert seen == 3 and "onerror=alert" not in page.stdout.replace("&lt;img src=x onerror=alert(1)&gt;", "")
