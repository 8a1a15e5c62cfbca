"""The gateway on a port: uvicorn, with a bound on how much head a request may have."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from harness.config.gateway_section import GatewaySettings
from harness.errors import ConfigError, HarnessError


def bounded_protocol(limit: int) -> type[asyncio.Protocol]:
    """uvicorn's protocol, hanging up on a head of more than `limit` bytes: the parser itself has no bound."""

    class Bounded(HttpToolsProtocol):
        _head = 0
        _in_head = True

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head += len(data)
                if self._head > limit and b"\r\n\r\n" not in data[: limit + 1]:
                    body = b'{"error":{"message":"the headers are too large","type":"invalid_request_error"}}'
                    self.transport.write(
                        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
                        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                    )
                    self.transport.close()
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head, self._head = False, 0
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head = True
            super().on_message_complete()

    return Bounded


def check_exposure(settings: GatewaySettings) -> None:
    """Raise ConfigError for a port that others can reach and nobody guards."""
    host = settings.section.host
    if not settings.section.tokens and not is_loopback(host):
        raise ConfigError(
            settings.source,
            ("gateway", "host"),
            f"'{host}' is reachable from other machines, and no token is set",
            "set gateway > tokens: [$HARNESS_GATEWAY_TOKEN], or keep host 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before anything is said to be ready; raises HarnessError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host.strip("[]"), port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise HarnessError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another port: harness serve --port N"
        ) from None
    return found


def server(app: Any, settings: GatewaySettings) -> uvicorn.Server:
    """A server for `serve(sockets=[…])`. Client addresses are not logged, proxies' headers not believed."""
    fast = importlib.util.find_spec("uvloop") is not None
    config = uvicorn.Config(
        app,
        http=bounded_protocol(settings.section.limits.header_kb * 1024),
        ws="none",
        loop="uvloop" if fast else "asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        lifespan="on",
    )
    return uvicorn.Server(config)
