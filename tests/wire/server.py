"""A model server on this machine: true wire formats, scripted replies, honest bills, and every request on record.

    with WireServer(read_script(path)) as server:
        settings = {"providers": {"anthropic": {"base_url": server.url, "api_key": "k"}}}
        …
        assert len(server.calls) == 3

It speaks Anthropic Messages, OpenAI Chat Completions and OpenAI Responses at once, each streaming and whole. Replies
come from a Script (matched by what the request says: see `reading.facts_from`), from a list that is dealt out in
order, or from a function `WireRequest → reply`. A reply is a `Said`, a mapping in the script's words, or a Response of
Starlette's, which is sent as it is.
Usage follows the published caching rules (`harness.models.prompt_cache`) unless the reply gives its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from harness.models.prompt_cache import Bill, PromptCache, anthropic_parts, openai_parts, tokens_in
from harness.models.script import Facts, Reply, Said, Script, ScriptedError
from harness.types import Text, ToolUse, Usage
from tests.wire.reading import Wire, facts_from, wire_of
from tests.wire.writing import blocks_of, error_body, error_event, events, whole

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]


@dataclass(frozen=True)
class WireRequest:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    raw: bytes
    at: float
    """`time.monotonic()` when it was read."""
    wire: Wire | None = None
    """The format, when it was a model call."""
    body: dict[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    usage: list[Usage] = field(default_factory=list)
    """What it was billed, once answered."""


Given = Said | Mapping[str, Any] | Response
Answers = Script | Iterable[Given] | Callable[[WireRequest], Given]


class WireServer:
    """A context manager; `url` has no `/v1`. Runs in a thread of its own, so that blocking callers work too."""

    def __init__(
        self,
        answers: Answers,
        *,
        key: str | None = None,
        tiers: Mapping[str, str] | None = None,
        lacks: Iterable[str] = (),
        chunk_seconds: float = 0.0,
        port: int = 0,
    ) -> None:
        """`key`: others get 401. `tiers`: model → tier, where the name does not tell. `lacks`: `usage` (never told),
        `structured` (structured output is refused), `health` (`/healthz` says 503). `chunk_seconds`: between events of
        a stream."""
        self._answers = answers
        self._dealt = iter(answers) if not isinstance(answers, Script) and not callable(answers) else iter(())
        self._seen: Counter[tuple[int, Facts]] = Counter()
        self._caches = {"messages": PromptCache(), "openai": PromptCache()}
        self._key, self._tiers, self.lacks = key, dict(tiers or {}), set(lacks)
        self._chunk_seconds, self._port = chunk_seconds, port
        self.requests: list[WireRequest] = []

    # ── running ───────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]
        app = Starlette(routes=[Route("/{path:path}", self._serve, methods=METHODS)])
        config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False, ws="none", loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="wire-server", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the wire server did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def calls(self) -> list[WireRequest]:
        """Requests to a model, in the order in which they arrived."""
        return [request for request in self.requests if request.wire is not None]

    @property
    def billed(self) -> Usage:
        """What all calls used together."""
        return sum((usage for request in self.calls for usage in request.usage), Usage())

    # ── answering ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, request: Request) -> Response:
        arrived = await self._record(request)
        if arrived.path == "/healthz":
            return JSONResponse({"status": "ok"}, 503 if "health" in self.lacks else 200)
        if arrived.method == "HEAD" or arrived.method == "OPTIONS":
            return Response(status_code=200)
        if arrived.path.endswith("/messages/count_tokens"):
            return JSONResponse({"input_tokens": sum(tokens_in(part.text) for part in anthropic_parts(arrived.body))})
        if arrived.path.removeprefix("/v1").rstrip("/") == "/models":
            return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self._tiers]})
        if arrived.wire is None:
            refusal = {"type": "not_found_error", "message": f"nothing here: {arrived.method} {arrived.path}"}
            status = 426 if arrived.method == "GET" and wire_of(arrived.path) == "responses" else 404
            return JSONResponse({"type": "error", "error": refusal}, status)
        if self._key is not None and self._key not in _keys(arrived.headers):
            return _refusal(arrived.wire, ScriptedError(kind="auth", message="invalid x-api-key"))
        if "structured" in self.lacks and (told := _structure(arrived)):
            return _refusal(
                arrived.wire, ScriptedError(kind="bad_request", message=f"{told}: Extra inputs are not permitted")
            )
        return await self._answer(arrived, arrived.wire)

    async def _record(self, request: Request) -> WireRequest:
        raw = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.url.path
        wire = wire_of(path) if request.method == "POST" else None
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        facts = facts_from(wire, body, headers, self._tiers) if wire else Facts()
        arrived = WireRequest(
            request.method, path, request.url.query, headers, raw, time.monotonic(), wire, body, facts
        )
        self.requests.append(arrived)
        return arrived

    def _said(self, arrived: WireRequest) -> Said | Response:
        if isinstance(self._answers, Script):
            found: Said | Response | None = self._answers.find(arrived.facts, self._seen)
            missing = self._answers.missing(arrived.facts)
        elif callable(self._answers):
            found, missing = _as_said(self._answers(arrived)), ""
        else:
            given = next(self._dealt, None)
            found, missing = (None if given is None else _as_said(given)), "the list of replies is used up"
        return found or Reply(error=ScriptedError(kind="bad_request", message=missing))

    async def _answer(self, arrived: WireRequest, wire: Wire) -> Response:
        said = self._said(arrived)
        if isinstance(said, Response):
            return said
        model = str(arrived.body.get("model", ""))
        bill, cache = self._bill(arrived, wire, model)
        defaults = self._answers.defaults.seconds if isinstance(self._answers, Script) else 0.0
        await asyncio.sleep(defaults if said.seconds is None else said.seconds)
        error = said.error
        if error is not None and error.kind == "timeout":
            await asyncio.sleep(3600)
        streams = arrived.body.get("stream") is True
        breaks = error is not None and error.kind in ("dies", "stream_error")
        if error is not None and error.kind != "nonsense" and not (breaks and streams):
            kind = "server" if breaks or error.kind == "timeout" else error.kind
            return _refusal(wire, error.model_copy(update={"kind": kind}))
        shown = Reply(text="This answer will not be finished, it ends somewhere.") if breaks else said
        blocks = blocks_of(shown, arrived.facts, arrived.body)
        usage = _usage(said, bill, sum(tokens_in(_written(block)) for block in blocks))
        arrived.usage.append(usage)
        cache.began(bill)
        stop = said.stop or ("tool_use" if any(isinstance(block, ToolUse) for block in blocks) else "end")
        told = None if "usage" in self.lacks else usage
        document = whole(wire, len(self.requests), model, blocks, stop, told)
        headers = {"request-id": f"req_{len(self.requests):06d}"}
        if not streams:
            return JSONResponse(document, headers=headers)
        options = arrived.body.get("stream_options") or {}
        pieces = list(events(wire, document, bool(options.get("include_usage"))))
        stream = self._stream(wire, pieces, error if breaks else None)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    def _bill(self, arrived: WireRequest, wire: Wire, model: str) -> tuple[Bill, PromptCache]:
        cache = self._caches["messages" if wire == "messages" else "openai"]
        if wire == "messages":
            return cache.explicit(model, anthropic_parts(arrived.body)), cache
        return cache.automatic(model, openai_parts(arrived.body)), cache

    async def _stream(self, wire: Wire, pieces: list[bytes], error: ScriptedError | None) -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces):
            if error is not None and number == len(pieces) // 2:
                if error.kind == "dies":
                    raise ConnectionAbortedError("scripted: the stream dies")
                yield error_event(wire, error)
                return
            yield piece
            if self._chunk_seconds:
                await asyncio.sleep(self._chunk_seconds)


def _as_said(given: Given) -> Said | Response:
    return given if isinstance(given, Said | Response) else Reply.model_validate(given)


def _refusal(wire: Wire, error: ScriptedError) -> JSONResponse:
    status, body, headers = error_body(wire, error)
    return JSONResponse(body, status, headers)


def _structure(arrived: WireRequest) -> str | None:
    if (arrived.body.get("output_config") or {}).get("format"):
        return "output_config"
    if (arrived.body.get("response_format") or {}).get("type") == "json_schema":
        return "response_format"
    return "text.format" if (arrived.body.get("text") or {}).get("format", {}).get("type") == "json_schema" else None


def _usage(said: Said, bill: Bill, output: int) -> Usage:
    if said.usage is None:
        return bill.usage.model_copy(update={"output_tokens": output})
    told = said.usage
    return Usage(
        requests=1,
        input_tokens=told.input,
        output_tokens=told.output,
        cache_read_tokens=told.cache_read,
        cache_write_5m_tokens=told.cache_write_5m,
        cache_write_1h_tokens=told.cache_write_1h,
    )


def _keys(headers: Mapping[str, str]) -> tuple[str, str]:
    return headers.get("x-api-key", ""), headers.get("authorization", "").removeprefix("Bearer ")


def _written(block: object) -> str:
    if isinstance(block, Text):
        return block.text
    return json.dumps(block.input, ensure_ascii=False) if isinstance(block, ToolUse) else ""
