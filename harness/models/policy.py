"""Mode `policy`: each session's models by what it is about, from routes described in words, without any server."""

from __future__ import annotations

import anyio
import anyio.to_thread

from harness.config.settings import Settings
from harness.routing.preferences import PreferenceRouter
from harness.types import ModelRequest, Text, TierPool

KEPT_TEXTS = 1024


class Policy:
    """Picks a request's pool by `routing > preferences`.

    The first user message decides, so that all turns of a session go to one model and find its cache warm. Where no
    route fits, and for second attempts, the pool asked for stands: an escalation is never undone.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._routes = {route.name: route for route in settings.routing.preferences}
        self._router: PreferenceRouter | None = None
        self._loading = anyio.Lock()
        self._decided: dict[str, str | None] = {}

    async def __call__(self, request: ModelRequest) -> TierPool:
        """The pool of the route that fits, or the request's own."""
        if not self._routes or request.attempt > 1:
            return request.pool
        route = self._routes.get(await self._decide(_subject(request)) or "")
        if route is None:
            return request.pool
        if route.models:
            return TierPool(tier=route.tier or request.pool.tier, models=route.models)
        return self._settings.pool(route.tier) if route.tier else request.pool

    async def _decide(self, text: str) -> str | None:
        if text not in self._decided:
            router = await self._classifier()
            match = await anyio.to_thread.run_sync(router.classify, text)
            if len(self._decided) >= KEPT_TEXTS:
                self._decided.clear()
            self._decided[text] = match.route
        return self._decided[text]

    async def _classifier(self) -> PreferenceRouter:
        """Made off the event loop when first asked for: it loads a model."""
        async with self._loading:
            if self._router is None:
                routing = self._settings.routing
                self._router = await anyio.to_thread.run_sync(
                    PreferenceRouter, routing.preferences, routing.preference_threshold
                )
            return self._router


def _subject(request: ModelRequest) -> str:
    """The text of the first user message."""
    first = next((message for message in request.messages if message.role == "user"), None)
    return "" if first is None else "\n".join(block.text for block in first.content if isinstance(block, Text))
