"""A gateway on a real port of this machine, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from starlette.routing import BaseRoute

from harness.config.gateway import build
from harness.config.gateway_section import GatewaySettings
from harness.config.settings import Settings
from harness.gateway.app import application
from harness.gateway.build import build_gateway
from harness.gateway.server import listen, server
from harness.gateway.service import Gateway


def settings_for(section: dict[str, Any], variables: Mapping[str, str] | None = None) -> GatewaySettings:
    """A `gateway:` section as settings, with no variable set but the given ones."""
    return build(section, Settings(), "test", variables or {})


class RunningGateway:
    """`with RunningGateway(section) as gateway:`; `url` has no `/v1`."""

    def __init__(
        self,
        section: dict[str, Any],
        settings: Settings | None = None,
        pages: Callable[[Gateway], Sequence[BaseRoute]] = lambda _: (),
    ) -> None:
        self.settings = build(section, settings or Settings(), "test", {})
        self._base, self._pages = settings or Settings(), pages

    def __enter__(self) -> Self:
        self._socket = listen("127.0.0.1", 0)
        self.port: int = self._socket.getsockname()[1]
        self.gateway: Gateway = build_gateway(self.settings, self._base)
        self._server = server(application(self.gateway, self._pages(self.gateway)), self.settings)
        self._server.config.loop = "asyncio"
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()
        self.wait_until(lambda: self._server.started)
        return self

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(5)
        self._socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until(self, holds: Callable[[], bool], seconds: float = 5) -> None:
        """Wait for what another thread will do soon."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise AssertionError("it did not happen in time")
            time.sleep(0.005)


def upstream(url: str) -> list[dict[str, Any]]:
    """Rows that send both vendors' models to one server."""
    return [
        {"model": "anthropic/*", "base_url": url, "api_key": "sk-ant-upstream-key"},
        {"model": "openai/*", "base_url": url, "api_key": "sk-upstream-openai-key"},
    ]
