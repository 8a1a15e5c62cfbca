"""The way to the providers: one pooled client, bytes in and bytes out.

aiohttp and not the SDKs' httpx2: measured on one core against the same loopback server, a POST with a streamed reply
costs 0.18 ms here and 0.78 ms there, which is most of what a gateway may add.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from harness.config.gateway_section import GatewayLimits

ANSWER_BYTES = 128 * 2**20
"""Of an answer that is not streamed: several pictures fit, and a provider gone mad fills no memory."""
_SET_BY_CALLER = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Unreachable(Exception):
    """No answer could be had: `during` is `connect`, `headers` or `body`. Its text holds no credentials."""

    def __init__(self, during: str, reason: str) -> None:
        super().__init__(reason)
        self.during = during


class Reply:
    """A provider's answer, its body still to come. Close it, or the connection stays open."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.raw_headers = response.raw_headers
        self._peeked: bytes | None = None

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises Unreachable when it breaks off."""
        if self._peeked is not None:
            yield self._peeked
            return
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except TimeoutError:
            raise Unreachable("body", "the provider fell silent in the middle of its answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable("body", f"the connection broke: {_plain(error)}") from None

    async def read(self) -> bytes:
        """The whole body; raises Unreachable."""
        return await gathered(self.chunks())

    async def peek(self) -> bytes:
        """The whole body, which can be read again; raises Unreachable."""
        self._peeked = await self.read()
        return self._peeked

    def close(self) -> None:
        """Let go: back to the pool when read to its end, hung up otherwise."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


async def gathered(chunks: AsyncIterator[bytes], most: int = ANSWER_BYTES) -> bytes:
    """All of an answer that has to be had whole; raises Unreachable, for one without an end as well."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise Unreachable("body", f"its answer is longer than {most // 2**20} MiB")
    return bytes(body)


class Upstream:
    """Use inside a running event loop; `aclose` it."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send and wait for the answer's headers; raises Unreachable. Redirects are not followed, to keep keys here."""
        session = self._session or self._open()
        target = URL(url, encoded=True)
        proxy = _proxy(target.scheme, target.host or "")
        try:
            response = await session.post(target, data=body, headers=headers, allow_redirects=False, proxy=proxy)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise Unreachable("connect", f"no connection: {_plain(error)}") from None
        except TimeoutError:
            raise Unreachable("headers", "no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable("headers", _plain(error)) from None
        return Reply(response)

    def _open(self) -> aiohttp.ClientSession:
        limits = self._limits
        timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=limits.connect_seconds, sock_read=limits.idle_seconds
        )
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=75)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=True,  # `identity` is asked for; a proxy on the way may compress all the same
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SET_BY_CALLER,
            read_bufsize=2**18,
            max_line_size=65536,
            max_field_size=65536,
        )
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


@lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host. aiohttp's `trust_env` would ask a thread for it every time."""
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _plain(error: BaseException) -> str:
    """What went wrong, without URLs or headers: those may hold credentials."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the provider's answer is not valid HTTP ({type(error).__name__})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ended before it was complete"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
