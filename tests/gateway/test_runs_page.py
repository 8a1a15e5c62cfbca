"""The runs page: who may look, who may act, what moves, and how it looks in a real browser."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from harness.config.settings import Settings
from harness.gateway.runs_page import Console, console_token
from harness.gateway.runs_view import Live
from harness.journal import SqliteJournal
from harness.report.html import run_report
from harness.report.period import report_of
from harness.stop import Stop, run_lock
from harness.types import Event, Run
from tests.fakes.browser import browser
from tests.fakes.runs import START, make_events, make_run

TOKEN = "open-sesame"
LIVE = make_run(seed=7, tasks=8, status="running", title="Retry <script>alert(1)</script> with backoff").grown(
    results=()
)
ACT = {"authorization": f"Bearer {TOKEN}", "x-harness-console": "1"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


@pytest.fixture
async def journal(settings: Settings) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(settings.state / "journal.db")
    await made.save(make_run(seed=3, tasks=4))
    await made.save(LIVE)
    made.note(Event(run_id=LIVE.id, kind="run.started", at=START))
    yield made
    await made.aclose()


@asynccontextmanager
async def browsing(settings: Settings, base: str = "http://localhost") -> AsyncIterator[httpx2.AsyncClient]:
    console = Console(settings, TOKEN, run_report)
    transport = httpx2.ASGITransport(app=Starlette(routes=console.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
        yield client
    await console.aclose()


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """A real server on a free port, ended afterwards; the URL."""
    console = Console(settings, TOKEN, run_report)
    config = uvicorn.Config(
        Starlette(routes=console.routes()), log_level="error", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            while not server.started:
                await anyio.sleep(0.02)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            server.should_exit = True
    await console.aclose()


async def test_runs_are_listed_those_under_way_first(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        page = (await client.get("/runs")).text
    assert page.index(LIVE.id) < page.index("r-000003")
    assert "Under way (1)" in page
    assert "&lt;script&gt;" in page and "<script>alert" not in page


async def test_without_a_journal_there_is_a_hint(settings: Settings) -> None:
    async with browsing(settings) as client:
        page = (await client.get("/runs")).text
    assert "harness run ISSUE" in page
    assert not settings.state.exists(), "looking makes no files"


async def test_a_run_its_graph_and_its_report(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        page = (await client.get("/runs/r-000003")).text
        report = await client.get("/runs/r-000003/report")
    assert page.count('class="node done"') == 4
    assert "Open the full report" in page
    assert "What to do next" in report.text


async def test_what_routing_has_come_to(settings: Settings, journal: SqliteJournal) -> None:
    console = Console(settings, TOKEN, None, report_of)
    transport = httpx2.ASGITransport(app=Starlette(routes=console.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert "no outcomes yet" in (await client.get("/outcomes")).text
    async with browsing(settings) as client:
        assert (await client.get("/outcomes")).status_code == 404


async def test_what_is_not_there_is_404(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        for path in ("/runs/nope", "/runs/nope/report", "/console/runs/nope/state", "/console/secrets.txt"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/console/page.css")).headers["content-type"].startswith("text/css")


async def test_another_sites_page_cannot_read_it(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings, "http://rebound.example") as client:
        for path in ("/runs", "/runs/r-000003", "/runs/r-000003/report", "/console/state", "/console/events"):
            answer = await client.get(path)
            assert answer.status_code == 403
            assert "Cache" not in answer.text
        assert (await client.get("/runs", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200


async def test_the_link_with_the_token_becomes_a_cookie(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        assert (await client.get("/runs?token=wrong")).status_code == 403
        entered = await client.get(f"/runs?token={TOKEN}")
        assert entered.status_code == 303 and entered.headers["location"] == "/runs"
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert "Watching only" not in (await client.get("/runs")).text


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-harness-console": "1"}, {"authorization": f"Bearer {TOKEN}"}, {**ACT, "authorization": "Bearer wrong"}],
)
async def test_acting_needs_token_and_header(
    settings: Settings, journal: SqliteJournal, headers: dict[str, str]
) -> None:
    async with browsing(settings) as client:
        for action in ("cancel", "resume"):
            answer = await client.post(f"/console/runs/{LIVE.id}/{action}", headers=headers)
            assert answer.status_code == 403
    assert not Stop(settings.state).cancelled(LIVE.id)


async def test_cancel_asks_the_run_to_stop(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        answer = await client.post(f"/console/runs/{LIVE.id}/cancel", headers=ACT)
        assert answer.status_code == 200
        assert (await client.post("/console/runs/nope/cancel", headers=ACT)).status_code == 404
        assert (await client.get(f"/console/runs/{LIVE.id}/cancel", headers=ACT)).status_code == 405
    assert Stop(settings.state).cancelled(LIVE.id)


async def test_resume_starts_harness_resume_on_its_own(settings: Settings, journal: SqliteJournal) -> None:
    stopped = make_run(seed=9, status="interrupted")
    await journal.save(stopped)
    async with browsing(settings) as client:
        assert "Resume" in (await client.get(f"/runs/{stopped.id}")).text
        answer = await client.post(f"/console/runs/{stopped.id}/resume", headers=ACT)
        assert answer.status_code == 200
    log = settings.state / "runs" / stopped.id / "resume.log"
    with anyio.fail_after(15):
        while not log.read_text():
            await anyio.sleep(0.1)


async def test_a_run_whose_process_has_died_can_be_gone_on_with(settings: Settings, journal: SqliteJournal) -> None:
    async with browsing(settings) as client:
        with run_lock(settings.state, f"issue-{LIVE.issue.id}"):
            page = (await client.get(f"/runs/{LIVE.id}", headers=ACT)).text
            assert "Stop after the current steps" in page and "Under way (1)" in (await client.get("/runs")).text
        page = (await client.get(f"/runs/{LIVE.id}", headers=ACT)).text
        assert "its process has ended" in page and "Resume" in page
        assert "Under way" not in (await client.get("/runs")).text


@pytest.mark.parametrize("status", ["failed", "cancelled", "rejected", "done"])
async def test_what_has_ended_is_not_gone_on_with(settings: Settings, journal: SqliteJournal, status: str) -> None:
    ended = make_run(seed=9, status=status)
    await journal.save(ended)
    async with browsing(settings) as client:
        assert "button" not in (await client.get(f"/runs/{ended.id}")).text
        answer = await client.post(f"/console/runs/{ended.id}/resume", headers=ACT)
    assert answer.status_code == 409 and "harness run web-109" in answer.json()["error"]
    assert not (settings.state / "runs" / ended.id).exists()


def test_the_token_is_kept_for_its_owner(settings: Settings) -> None:
    assert console_token(settings) != console_token(settings), "nowhere to keep it yet"
    settings.state.mkdir()
    token = console_token(settings)
    assert token == console_token(settings) and len(token) >= 32
    assert (settings.state / "console-token").stat().st_mode & 0o077 == 0


def test_events_tell_what_the_saved_run_does_not_know_yet() -> None:
    run = make_run(seed=7, tasks=4)
    events = make_events(run)
    assert set(Live.of(events).states.values()) == {"done"}
    half = Live.of(events[: len(events) // 2])
    assert "running" in half.states.values()


async def test_changes_are_pushed(settings: Settings, journal: SqliteJournal) -> None:
    async with served(settings) as url, httpx2.AsyncClient(timeout=5) as client:
        async with client.stream("GET", f"{url}/console/runs/{LIVE.id}/events") as stream:
            lines = stream.aiter_lines()
            assert await until(lines, "data:") == 'data: {"status":"running","events":1}'
            journal.note(Event(run_id=LIVE.id, kind="task.started", at=START, task_id="t1"))
            assert await until(lines, "data:") == 'data: {"status":"running","events":1}'
            await journal.save(LIVE.grown(status="done"))
            assert await until(lines, "data:") == 'data: {"status":"done","events":0}'
        async with client.stream(
            "GET", f"{url}/console/runs/{LIVE.id}/events", headers={"last-event-id": "2"}
        ) as again:
            assert await until(again.aiter_lines(), "data:") == 'data: {"status":"done","events":0}', "none twice"


async def test_an_open_page_does_not_hold_the_server_up(settings: Settings, journal: SqliteJournal) -> None:
    console = Console(settings, TOKEN, None)
    app = Starlette(routes=console.routes())
    ending = anyio.Event()
    app.state.stopping = ending.is_set
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, f"/console/runs/{LIVE.id}/events")
                group.start_soon(client.get, "/console/events")
                await anyio.sleep(0.5)
                ending.set()
    await console.aclose()


async def until(lines: AsyncIterator[str], start: str) -> str:
    async for line in lines:
        if line.startswith(start):
            return line
    raise AssertionError(f"the stream ended without {start}")


@pytest.mark.needs_chromium
async def test_in_a_browser_the_graph_fills_in(settings: Settings, journal: SqliteJournal, tmp_path: Path) -> None:
    async with served(settings) as url, browser(tmp_path) as page:
        await page.open(f"{url}/runs/{LIVE.id}")
        await page.until("document.getElementById('state').textContent === 'live'")
        assert await page.run("document.querySelectorAll('.node.waiting').length") == 8
        work_on(LIVE, journal)
        await page.until("document.querySelectorAll('.node.done').length === 2")
        assert await page.run("document.querySelectorAll('.node.running').length") == 1
        assert "turn 1 at haiku: bash pytest -q" in await page.run("document.body.innerText")
        await page.run(
            "document.querySelector('a[href=\"#task-t2\"]').dispatchEvent(new Event('click', {bubbles: true}))"
        )
        shown = "[...document.querySelectorAll('.log tr')].filter(row => !row.hidden).map(row => row.dataset.task)"
        assert set(await page.run(shown)) == {"t2"}, "one task's log"
        await journal.save(make_run(seed=7, tasks=8))
        await page.until("document.querySelectorAll('.node.done').length === 8")


@pytest.mark.needs_chromium
async def test_in_a_browser_only_the_tokens_holder_can_cancel(
    settings: Settings, journal: SqliteJournal, tmp_path: Path
) -> None:
    async with served(settings) as url, browser(tmp_path) as page:
        await page.open(f"{url}/runs/{LIVE.id}")
        assert await page.run("document.querySelector('button.cancel').disabled")
        await page.open(f"{url}/runs?token={TOKEN}")
        assert await page.run("location.search") == "", "the token does not stay in the address"
        await page.open(f"{url}/runs/{LIVE.id}")
        await page.run("document.querySelector('button.cancel').click()")
        await page.until("document.getElementById('answer').textContent.includes('stops after')")
        journal.note(Event(run_id=LIVE.id, kind="task.started", at=START, task_id="t1"))
        await page.until("document.querySelectorAll('.node.running').length === 1")
        told = "document.getElementById('answer').textContent.includes('stops after')"
        assert await page.run(told), "the answer outlives a refresh of what is around it"
        assert await page.run("document.querySelector('button.cancel').disabled"), "and is not asked for again"
    assert Stop(settings.state).cancelled(LIVE.id)


@pytest.mark.needs_chromium
async def test_a_report_in_a_browser_runs_nothing_of_an_issues(tmp_path: Path) -> None:
    evil = make_run(seed=5, status="failed", title="<img src=x onerror=\"document.title='owned'\"><script>x=1</script>")
    path = tmp_path / "report.html"
    path.write_text(run_report(evil), encoding="utf-8")
    async with browser(tmp_path) as page:
        await page.open(path.as_uri())
        assert await page.run("document.scripts.length") == 0
        assert await page.run("document.images.length") == 0
        assert "owned" not in (await page.run("document.title")).split("<")[0]
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await page.run(wide), "nothing sticks out sideways"
        await page.picture(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 20_000


def work_on(run: Run, journal: SqliteJournal) -> None:
    """Two tasks done, one under way."""
    for task in ("t1", "t2", "t3"):
        journal.note(Event(run_id=run.id, kind="task.started", at=START, task_id=task, data={"tier": "haiku"}))
        turn = {"turn": 1, "tier": "haiku", "tools": ["bash pytest -q"]}
        journal.note(Event(run_id=run.id, kind="task.turn", at=START, task_id=task, data=turn))
    for task in ("t1", "t2"):
        journal.note(Event(run_id=run.id, kind="task.finished", at=START, task_id=task, data={"status": "done"}))
