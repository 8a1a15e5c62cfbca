"""Models through Plano: an instance that runs somewhere (`plano_proxy`), or our own in Docker (`plano_embedded`).

Plano takes `POST /v1/chat/completions` on its egress port with the model as `provider/model`, and holds the keys. With
`routing > fallback: true` a call that Plano cannot serve goes to the provider directly; if that fails too, the error
tells both reasons.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio

from harness.budget import Meter
from harness.config.reading import environment
from harness.config.settings import Settings
from harness.errors import MissingTool, ModelError, ModelUnavailable
from harness.models.client import PooledModelClient
from harness.models.plano_container import PlanoContainer
from harness.models.providers import Provider
from harness.protocols import ModelClient
from harness.types import ModelReply, ModelRequest

RESTARTS = 3
"""Within one call."""


def connect(settings: Settings, variables: Mapping[str, str] | None = None) -> PlanoModelClient:
    """The client for the settings' mode; nothing is started before the first call."""
    variables = environment() if variables is None else variables
    embedded = settings.routing.embedded
    container = None
    base_url = settings.routing.proxy.base_url
    if settings.routing.mode == "plano_embedded" and embedded is not None:
        container = PlanoContainer(embedded, settings.root, variables)
        base_url = container.url
    direct = PooledModelClient(settings, variables=variables) if settings.routing.fallback else None
    timeout = settings.routing.proxy.timeout if container is None else settings.models.timeout_seconds
    url = base_url.rstrip("/").removesuffix("/v1") + "/v1"
    plano = PooledModelClient(settings, variables=variables, gateway=Provider("plano", "openai", url, timeout=timeout))
    return PlanoModelClient(plano, direct, container)


class PlanoModelClient:
    """The ModelClient that asks Plano first, and the provider itself when it may and must."""

    scripted = False

    def __init__(
        self,
        plano: PooledModelClient,
        direct: ModelClient | None = None,
        container: PlanoContainer | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._plano, self._direct, self._container, self._sleep = plano, direct, container, sleep

    async def complete(self, request: ModelRequest, meter: Meter) -> ModelReply:
        """Plano's reply, or the provider's; raises ModelError with Plano's reason, and the provider's too if asked."""
        try:
            return await self._ask_plano(request, meter)
        except (ModelError, MissingTool) as error:
            if self._direct is None:
                raise
            refused = error
        try:
            reply = await self._direct.complete(request, meter)
        except ModelError as error:
            both = f"neither way was open: Plano: {refused.message}; directly: {error.message}"
            raise type(error)(both, error.hint or refused.hint) from error
        said = [f"Plano did not serve this, the provider was asked directly: {refused.message}"]
        said += reply.metadata.get("warnings", [])
        return reply.model_copy(update={"metadata": {**reply.metadata, "warnings": said, "fallback": True}})

    async def aclose(self) -> None:
        """Close connections and stop the container, if it is ours."""
        await self._plano.aclose()
        if self._direct is not None:
            await self._direct.aclose()
        if self._container is not None:
            await self._container.stop()

    async def _ask_plano(self, request: ModelRequest, meter: Meter) -> ModelReply:
        if self._container is None:
            return await self._plano.complete(request, meter)
        await self._container.start()
        for restart in range(RESTARTS + 1):
            try:
                return await self._plano.complete(request, meter)
            except ModelUnavailable:
                if restart == RESTARTS or await self._container.running():
                    raise  # it lives, so the trouble is behind it
            await self._sleep(2.0**restart)
            await self._container.start(again=True)
            self._plano.forget_failures()
        raise AssertionError("the loop returns")
