"""Mode `policy`: each session's models by what it is about, from routes described in words, without any server."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread

from harness.config.settings import Settings
from harness.models.client import Choose
from harness.routing.preferences import PreferenceRouter
from harness.types import ModelRequest, Text, TierPool

KEPT_TEXTS = 1024


def chooser(settings: Settings) -> Choose:
    """What picks a request's pool by `routing > preferences`.

    The first user message decides, so that all turns of a session go to one model and find its cache warm. Where no
    route fits, and for second attempts, the pool asked for stands: an escalation is never undone.
    """
    routes = {route.name: route for route in settings.routing.preferences}
    make = partial(PreferenceRouter, tuple(routes.values()), settings.routing.preference_threshold)
    decided: dict[str, str | None] = {}
    loading = anyio.Lock()
    router: PreferenceRouter | None = None

    async def choose(request: ModelRequest) -> TierPool:
        nonlocal router
        if not routes or request.attempt > 1:
            return request.pool
        text = _subject(request)
        if text not in decided:
            async with loading:
                router = router or await anyio.to_thread.run_sync(make)
                match = await anyio.to_thread.run_sync(router.classify, text)
            if len(decided) >= KEPT_TEXTS:
                decided.clear()
            decided[text] = match.route
        route = routes.get(decided[text] or "")
        if route is None:
            return request.pool
        if route.models:
            return TierPool(tier=route.tier or request.pool.tier, models=route.models)
        return settings.pool(route.tier) if route.tier else request.pool

    return choose


def _subject(request: ModelRequest) -> str:
    """The text of the first user message."""
    first = next((message for message in request.messages if message.role == "user"), None)
    return "" if first is None else "\n".join(block.text for block in first.content if isinstance(block, Text))
