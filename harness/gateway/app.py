"""The gateway as an ASGI application: its endpoints, and how it starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from harness.config.targets import WireName
from harness.gateway.looking import may_look
from harness.gateway.openapi import document
from harness.gateway.refusal import Refusal
from harness.gateway.service import Gateway, Receive, Scope, Send
from harness.pricing import well_known

PATHS: dict[WireName, str] = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}


class _Endpoint:
    """One POST endpoint; a class, so that Starlette hands the bare ASGI call through."""

    def __init__(self, call: Callable[[WireName, Scope, Receive, Send], Awaitable[None]], form: WireName) -> None:
        self._call, self._form = call, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(self._form, scope, receive, send)


def application(gateway: Gateway, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The ASGI application; `more` are routes of other rooms, such as the runs page."""
    chat = [Route(path, _Endpoint(gateway.chat, form), methods=["POST"]) for form, path in PATHS.items()]
    advice = [
        Route(f"/routing{path}", _Endpoint(gateway.decide, form), methods=["POST"]) for form, path in PATHS.items()
    ]
    count = Route("/v1/messages/count_tokens", _Endpoint(gateway.count_tokens, "messages"), methods=["POST"])

    async def websocket(request: Request) -> Response:
        body = Refusal(
            426, "this endpoint speaks HTTP and server-sent events, no WebSocket", code="websocket_unsupported"
        )
        return Response(orjson.dumps(body.body("responses")), 426, media_type="application/json")

    def closed(request: Request) -> Response | None:
        """Where there are tokens, models and figures are for those who have one too."""
        if not gateway.settings.section.tokens or may_look(gateway.settings, request):
            return None
        refusal = Refusal(401, "this gateway wants one of its tokens as a bearer token", code="invalid_api_key")
        return JSONResponse(refusal.body("chat") | {"type": "error"}, 401)

    async def models(request: Request) -> Response:
        return closed(request) or JSONResponse(model_list(gateway))

    async def model(request: Request) -> Response:
        if refused := closed(request):
            return refused
        found = gateway.decider.target(request.path_params["name"])
        if found is None:
            refusal = Refusal(404, f"no model '{request.path_params['name'][:200]}' here", code="model_not_found")
            return JSONResponse(refusal.body("chat") | {"type": "error"}, 404)
        return JSONResponse(_model(found.name, found.provider))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        problems = gateway.problems()
        return JSONResponse({"status": "degraded" if problems else "ready", "problems": problems})

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    async def metrics(request: Request) -> Response:
        return closed(request) or PlainTextResponse(gateway.ledger.metrics(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            if gateway.feeds is not None:
                group.start_soon(gateway.feeds.run)
            group.start_soon(gateway.decider.warm)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await gateway.aclose()

    async def wrong(request: Request, error: Exception) -> Response:
        """Wrong paths, wrong methods and bugs, in the wire format of the path."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        texts = {
            404: f"there is no {request.url.path[:200]} here",
            405: f"{request.url.path[:200]} does not take {request.method}",
        }
        form: WireName = "messages" if request.url.path.startswith(("/v1/messages", "/routing/v1/messages")) else "chat"
        refusal = Refusal(status, texts.get(status, "the gateway made a mistake; its log says which"))
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse(refusal.body(form), status, headers)

    get = [
        Route("/v1/responses", websocket),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
    ]
    return Starlette(
        routes=[*chat, count, *advice, *get, *more],
        lifespan=lifespan,
        exception_handlers={HTTPException: wrong, 500: wrong},
    )


def model_list(gateway: Gateway) -> dict[str, Any]:
    """The models on offer, in a form that both vendors' clients read.

    All models of a provider are told by the well-known ones among them, since nobody can ask for `openai/*`.
    """
    settings = gateway.settings
    names: dict[str, str] = {}
    for name, target in settings.targets.items():
        if not target.internal:
            known = well_known(target.provider) if target.model == "*" else ()
            names |= {f"{target.provider}/{model}": target.provider for model in known} or {name: target.provider}
    names |= dict.fromkeys(settings.section.aliases, "alias")
    rows = [_model(name, owner) for name, owner in names.items()]
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return {"object": "list", "data": rows, "has_more": False, **ends}


def _model(name: str, owner: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }
