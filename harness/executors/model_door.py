"""The one way out of a sandbox: to one model provider, with a key that stays outside.

An agent that calls its model itself is confined like any program, without a network. It is given a base URL that leads
here, and here its requests get the provider's address and key. So an agent, or what talks an agent into something, can
neither read the key nor reach anything else.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from harness.errors import HarnessError
from harness.executors.forwarded import Forwarded
from harness.models.providers import Provider
from harness.sandbox import Sandbox
from harness.spans import Spans

RELAY = Path(__file__).with_name("relay.py")
PORT = 3456
"""On the sandbox's own loopback, where nobody else listens."""
PLACEHOLDER = "held-by-the-harness"
"""The key that an agent sees."""

SILENT = Spans()

_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade", "host", "content-length"}  # fmt: skip
_KEYS = {"authorization", "x-api-key", "api-key", "cookie"}


@dataclass(frozen=True)
class ModelDoor:
    """How an agent reaches its model."""

    base_url: str
    """Without an API version: `http://127.0.0.1:3456`."""
    network: bool
    """Whether the sandbox must share the machine's network for that; never with bubblewrap."""
    socket: Path | None = None
    log: list[int] = field(default_factory=list)
    """The HTTP status of each answer, as they came."""
    most: int | None = None
    """Requests that are answered; later ones are told that the limit is reached."""

    @property
    def worn_out(self) -> bool:
        """Whether the agent asked for more than it may."""
        return self.most is not None and len(self.log) > self.most

    def through(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs an agent with the door open."""
        if self.socket is None:
            return list(argv)
        return [sys.executable, "-I", "-S", str(RELAY), str(PORT), f"/tmp/{self.socket.name}", *argv]

    @property
    def readable(self) -> tuple[Path, ...]:
        return (RELAY,) if self.socket else ()


@asynccontextmanager
async def model_door(
    provider: Provider,
    sandbox: Sandbox,
    scratch: Path,
    headers: Mapping[str, str],
    most: int | None = None,
    spans: Spans = SILENT,
) -> AsyncIterator[ModelDoor]:
    """A door to `provider`, open as long as the context; raises ModelAuthError when there is no key for it.

    `scratch` is the agent's: with bubblewrap the door is a socket in it. Landlock has no network of its own to give,
    so there the agent shares the machine's (and still gets no key). Requests get `headers` on top of their own, and
    only the first `most` for an answer are forwarded. Each of those is a span below the one that is open here.
    """
    if sandbox.mode == "bubblewrap":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(scratch / "model.sock"))
        door = ModelDoor(f"http://127.0.0.1:{PORT}", network=False, socket=scratch / "model.sock", most=most)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        door = ModelDoor(f"http://127.0.0.1:{listener.getsockname()[1]}", network=True, most=most)
    trouble: HarnessError | None = None
    with closing(listener):
        async with httpx2.AsyncClient(timeout=httpx2.Timeout(provider.timeout, connect=30)) as client:
            app = Starlette(
                routes=[
                    Route(
                        "/{path:path}",
                        _Forward(provider, client, headers, door, spans, spans.carrier()).serve,
                        methods=["GET", "POST", "HEAD"],
                    )
                ]
            )
            server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve, [listener])
                try:
                    yield door
                except HarnessError as error:
                    trouble = error  # raised below: out of the task group it would come wrapped
                finally:
                    server.should_exit = True
    if trouble is not None:
        raise trouble


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the harness."""
        yield


@dataclass(frozen=True)
class _Forward:
    provider: Provider
    client: httpx2.AsyncClient
    headers: Mapping[str, str]
    door: ModelDoor
    spans: Spans
    parent: Mapping[str, str]

    async def serve(self, request: Request) -> Response:
        path = request.url.path
        if not path.startswith("/v1/"):
            return Response(status_code=404 if path != "/" else 200)  # clients look whether somebody is there
        log = self.door.log if request.method == "POST" and not path.endswith("/count_tokens") else []
        if self.door.most is not None and len(log) >= self.door.most:
            log.append(400)
            return _problem(400, "invalid_request_error", "the limit of model requests for this task is reached")
        base = self.provider.base_url
        base = base if re.search(r"/v\d\w*(/[\w-]+)?$", base) else f"{base}/v1"
        query = f"?{request.url.query}" if request.url.query else ""
        body = await request.body()
        outgoing = self.client.build_request(
            request.method,
            f"{base}{path.removeprefix('/v1')}{query}",
            headers=self._headers(request),
            content=body,
        )
        seen = Forwarded(self.spans, self.parent, self.provider.name, path, body) if log is self.door.log else None
        try:
            answer = await self.client.send(outgoing, stream=True)
        except httpx2.HTTPError as error:
            log.append(502)
            if seen is not None:
                seen.broken(type(error).__name__)
            return _problem(502, "api_error", f"{self.provider.name} is out of reach: {type(error).__name__}")
        log.append(answer.status_code)
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        if seen is not None:
            seen.answered(answer.status_code, answer.headers)
        return StreamingResponse(_bytes(answer, seen), status_code=answer.status_code, headers=headers)

    def _headers(self, request: Request) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP | _KEYS}
        kept |= self.headers
        if self.spans.recording:
            kept["accept-encoding"] = "gzip"  # what the usage in the answer can be read from
        # In the header in which the agent sent its placeholder: API keys and tokens travel differently.
        if "x-api-key" in request.headers:
            return {**kept, "x-api-key": self.provider.key}
        return {**kept, "authorization": f"Bearer {self.provider.key}"}


def _problem(status: int, kind: str, message: str) -> JSONResponse:
    """In a shape that reads as an error in every vendor's format."""
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status_code=status)


async def _bytes(answer: httpx2.Response, seen: Forwarded | None) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            if seen is not None:
                seen.feed(chunk)
            yield chunk
    finally:
        if seen is not None:
            seen.end()
        await answer.aclose()
