"""The runs page: live runs in the browser, their graphs filling in, with cancel and resume for who holds the token.

Watching is open to a browser on this machine; everybody else, and every action, needs the token. It is in the link that
`harness serve` prints, and stays in a cookie that no other site can use.
"""

from __future__ import annotations

import hmac
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from harness.config.settings import Settings
from harness.gateway.runs_view import run_list, run_page, run_state, runs_page, shell
from harness.journal import SqliteJournal
from harness.markup import STYLE
from harness.stop import Stop, let_go
from harness.types import UNFINISHED, Event, Run

COOKIE = "harness_console"
POLL_SECONDS = 0.4
"""How often another process's journal is looked at; SQLite tells nobody when it changes."""
PING_SECONDS = 15.0
RUNS_SHOWN = 60
_SCRIPT = Path(__file__).with_name("console.js")
_LOCAL = {"127.0.0.1", "::1", "localhost", "testserver"}
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
Report = Callable[[Run, Sequence[Event]], str]


def routes(
    settings: Settings, token: str, report: Report | None = None, outcomes: Callable[[Path], str] | None = None
) -> list[BaseRoute]:
    """The console's routes; `token` is what actions need.

    `report` draws a run's full report, `outcomes` that of all runs from the state folder; both make an HTML page.
    """
    return Console(settings, token, report, outcomes).routes()


def console_token(settings: Settings) -> str:
    """The repository's console token, readable by its owner only; a passing one where there is no `.harness/` yet."""
    path = settings.state / "console-token"
    if path.exists() and (kept := path.read_text("ascii").strip()):
        return kept
    made = secrets.token_urlsafe(24)
    if settings.state.is_dir():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(made)
    return made


class Console:
    """The pages over one repository's journal, which is opened when there is one."""

    def __init__(
        self, settings: Settings, token: str, report: Report | None, outcomes: Callable[[Path], str] | None = None
    ) -> None:
        self._settings, self._token, self._report, self._outcomes = settings, token, report, outcomes
        self._path = settings.state / "journal.db"
        self._opened: SqliteJournal | None = None

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/runs", self.index),
            Route("/outcomes", self.outcomes),
            Route("/runs/{run_id}", self.run),
            Route("/runs/{run_id}/report", self.report),
            Route("/console/state", self.index_state),
            Route("/console/events", self.index_events),
            Route("/console/runs/{run_id}/state", self.run_state),
            Route("/console/runs/{run_id}/events", self.run_events),
            Route("/console/runs/{run_id}/cancel", self.cancel, methods=["POST"]),
            Route("/console/runs/{run_id}/resume", self.resume, methods=["POST"]),
            Route("/console/{name}", self.file),
        ]

    async def aclose(self) -> None:
        """Close the journal."""
        if self._opened is not None:
            await self._opened.aclose()

    # ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def index(self, request: Request) -> Response:
        if "token" in request.query_params:
            return self._enter(request)
        if refused := self._refused(request):
            return refused
        body = runs_page(await self._runs())
        return HTMLResponse(shell("Runs — harness", body, self._holds_token(request)), headers=_HEADERS)

    async def run(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        found = await self._load(request)
        if found is None:
            return _missing(request)
        run, events = found
        allowed = self._holds_token(request)
        body = run_page(run, events, allowed, self._report is not None)
        return HTMLResponse(shell(f"{run.issue.title} — harness", body, allowed), headers=_HEADERS)

    async def report(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        found = await self._load(request)
        if found is None or self._report is None:
            return _missing(request)
        run, events = found
        page = await anyio.to_thread.run_sync(self._report, run, [event for _, event in events])
        return HTMLResponse(page, headers=_HEADERS)

    async def outcomes(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if self._outcomes is None:
            return _missing(request)
        page = await anyio.to_thread.run_sync(self._outcomes, self._settings.state)
        return HTMLResponse(page, headers=_HEADERS)

    async def file(self, request: Request) -> Response:
        files = {"page.css": (STYLE, "text/css"), "console.js": (_SCRIPT, "text/javascript")}
        known = files.get(request.path_params["name"])
        if known is None:
            return _missing(request)
        return Response(known[0].read_bytes(), media_type=known[1], headers={"cache-control": "max-age=300"})

    # ── what changes ──────────────────────────────────────────────────────────────────────────────────────────

    async def index_state(self, request: Request) -> Response:
        return self._refused(request) or HTMLResponse(run_list(await self._runs()), headers=_HEADERS)

    async def run_state(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        found = await self._load(request)
        if found is None:
            return _missing(request)
        return HTMLResponse(run_state(*found, self._holds_token(request)), headers=_HEADERS)

    async def index_events(self, request: Request) -> Response:
        return self._refused(request) or _stream(self._index_changes(_stopping(request)))

    async def run_events(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        after = request.headers.get("last-event-id", "")
        return _stream(
            self._run_changes(request.path_params["run_id"], int(after) if after.isdigit() else 0, _stopping(request))
        )

    async def _index_changes(self, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
        """A `change` whenever any run has moved."""
        before: object = None
        async for _ in _ticks(stopping):
            now = self._stamp()
            if now != before:
                yield b"event: change\ndata: {}\n\n"
                before = now
            else:
                yield b""

    async def _run_changes(self, run_id: str, after: int, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
        """A `change` for each batch of the run's events, and when its saved state changes."""
        status: str | None = None
        stamp: object = None
        async for _ in _ticks(stopping):
            now = self._stamp()
            if now == stamp:
                yield b""
                continue
            stamp = now
            journal = self._journal()
            run = await journal.load(run_id) if journal else None
            news = await journal.events(run_id, after) if journal else []
            changed = run is not None and run.status != status
            status = run.status if run else None
            if news:
                after = news[-1][0]
            if news or changed:
                data = orjson.dumps({"status": status, "events": len(news)})
                yield b"id: %d\nevent: change\ndata: %s\n\n" % (after, data)
            else:
                yield b""

    def _stamp(self) -> object:
        """Differs whenever the journal's files have been written."""
        stamps = []
        for path in (self._path, self._path.with_name(self._path.name + "-wal")):
            try:
                known = path.stat()
            except FileNotFoundError:
                continue
            stamps.append((known.st_mtime_ns, known.st_size))
        return tuple(stamps)

    # ── actions ───────────────────────────────────────────────────────────────────────────────────────────────

    async def cancel(self, request: Request) -> Response:
        run, refused = await self._acting(request)
        if run is None:
            return refused
        await anyio.to_thread.run_sync(Stop(self._settings.state).cancel, run.id)
        return JSONResponse(
            {"message": "It stops after its current steps; what is finished is kept."}, headers=_HEADERS
        )

    async def resume(self, request: Request) -> Response:
        run, refused = await self._acting(request)
        if run is None:
            return refused
        if run.status not in UNFINISHED:
            problem = f"it is {run.status}: there is nothing to go on with; begin anew: harness run {run.issue.id}"
            return JSONResponse({"error": problem}, 409, headers=_HEADERS)
        await anyio.to_thread.run_sync(self._resume, run.id)
        told = f"Resumed: nothing is paid twice. If it does not go on: .harness/runs/{run.id}/resume.log"
        return JSONResponse({"message": told}, headers=_HEADERS)

    def _resume(self, run_id: str) -> None:
        """Start `harness resume` on its own: it outlives the console."""
        folder = self._settings.state / "runs" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "harness", "resume", "-C", str(self._settings.root), "--", run_id]
        with (folder / "resume.log").open("ab") as log:
            # The shell ends at once, so that the run is init's child and not a zombie of ours.
            shell = subprocess.Popen(
                ["sh", "-c", '"$@" &', "sh", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        shell.wait()

    async def _acting(self, request: Request) -> tuple[Run | None, Response]:
        """The run to act on; or None and why not. The header is one that no form of another site can send."""
        if not self._holds_token(request) or "x-harness-console" not in request.headers:
            problem = "this needs the token: open the link that harness serve printed"
            return None, JSONResponse({"error": problem}, 403, headers=_HEADERS)
        found = await self._load(request)
        return (None, _missing(request)) if found is None else (found[0], Response())

    # ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, request: Request) -> Response:
        if not self._same(request.query_params["token"]):
            return HTMLResponse("wrong token; take the link that harness serve printed", 403, headers=_HEADERS)
        answer = RedirectResponse(request.url.path, 303, headers=_HEADERS)
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", max_age=30 * 86_400)
        return answer

    def _refused(self, request: Request) -> Response | None:
        """Why this visitor may not even watch. A page elsewhere that names this address sends its own Host."""
        host = (request.url.hostname or "").strip("[]")
        near = request.client is None or request.client.host in (*_LOCAL, "testclient")
        if self._holds_token(request) or (near and host in _LOCAL):
            return None
        return HTMLResponse("open the link that harness serve printed: it holds the token", 403, headers=_HEADERS)

    def _holds_token(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._same(request.cookies.get(COOKIE, "")) or self._same(bearer)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    # ── the journal ───────────────────────────────────────────────────────────────────────────────────────────

    def _journal(self) -> SqliteJournal | None:
        if self._opened is None and self._path.exists():
            self._opened = SqliteJournal(self._path)
        return self._opened

    async def _runs(self) -> list[Run]:
        journal = self._journal()
        return [self._seen(run) for run in await journal.runs(limit=RUNS_SHOWN)] if journal else []

    async def _load(self, request: Request) -> tuple[Run, list[tuple[int, Event]]] | None:
        journal, run_id = self._journal(), request.path_params["run_id"]
        run = await journal.load(run_id) if journal else None
        return (self._seen(run), await journal.events(run.id)) if journal and run else None

    def _seen(self, run: Run) -> Run:
        """The run; one that the journal says is running, but whose process has ended, as interrupted."""
        if run.status == "running" and let_go(self._settings.state, f"issue-{run.issue.id}"):
            return run.grown(status="interrupted", error="its process has ended")
        return run


def _missing(request: Request) -> Response:
    return JSONResponse({"error": f"there is no {request.url.path[:200]} here"}, 404, headers=_HEADERS)


def _stream(changes: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(_pinged(changes), media_type="text/event-stream", headers=_HEADERS)


async def _pinged(changes: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The changes, and a comment now and then so that a gone browser is noticed and proxies keep the line open."""
    yield b"retry: 2000\n\n"
    quiet = 0.0
    async for change in changes:
        quiet = 0.0 if change else quiet + POLL_SECONDS
        if change:
            yield change
        elif quiet >= PING_SECONDS:
            quiet = 0.0
            yield b": still here\n\n"


def _stopping(request: Request) -> Callable[[], bool]:
    """Whether the server wants to end: it waits for open streams, so they have to ask."""
    asked: Callable[[], bool] = getattr(request.app.state, "stopping", lambda: False)
    return asked


async def _ticks(stopping: Callable[[], bool]) -> AsyncIterator[None]:
    while not stopping():
        yield
        await anyio.sleep(POLL_SECONDS)
