"""Pins in Redis: every replica of the gateway honours what one of them decided. Needs the `redis` extra."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis.asyncio
from pydantic import ValidationError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from harness.errors import ConfigError
from harness.routing.affinity import StoreDown
from harness.routing.switching import Pin

NAMESPACE = "plano:affinity:"
"""Plano's own, with Plano's field names inside: replicas of both can share sessions."""
SILENT_SECONDS = 10.0
"""After Redis let a request wait in vain, later ones do without it for so long: they would all wait."""


class RedisPins:
    """A `PinStore` on `redis://[:password@]host:port[/db]` or `rediss://…`; Redis itself lets pins expire."""

    def __init__(
        self,
        url: str,
        ttl_seconds: float = 600,
        *,
        connect_seconds: float = 5,
        answer_seconds: float = 2,
        where: str = "session_cache",
    ) -> None:
        self.ttl_seconds = ttl_seconds
        self._silent_until = 0.0
        try:
            self._redis = redis.asyncio.Redis.from_url(
                url,
                decode_responses=True,
                socket_connect_timeout=connect_seconds,
                socket_timeout=answer_seconds,
            )
        except ValueError:
            # The URL may hold a password: it is never quoted.
            raise ConfigError(
                where, ("url",), "is no Redis address", "write redis://host:6379 or rediss://:password@host:6380"
            ) from None

    async def get(self, key: str) -> Pin | None:
        with self._door():
            return _decoded(await self._redis.get(NAMESPACE + key))

    async def put(self, key: str, pin: Pin, ttl_seconds: float | None = None) -> None:
        seconds = _whole(self.ttl_seconds if ttl_seconds is None else ttl_seconds)
        with self._door():
            await self._redis.set(NAMESPACE + key, pin.model_dump_json(), ex=seconds)

    async def add(self, key: str, pin: Pin) -> Pin:
        name, value, seconds = NAMESPACE + key, pin.model_dump_json(), _whole(self.ttl_seconds)
        with self._door():
            if await self._redis.set(name, value, ex=seconds, nx=True):
                return pin
            present = _decoded(await self._redis.get(name))
            if present is None:  # unreadable, or expired in between
                await self._redis.set(name, value, ex=seconds)
            return present or pin

    async def aclose(self) -> None:
        await self._redis.aclose()

    @contextmanager
    def _door(self) -> Iterator[None]:
        """Redis's troubles as StoreDown. One that lets callers wait is not asked again for a while."""
        if time.monotonic() < self._silent_until:
            raise _down("TimeoutError")
        try:
            yield
        except (RedisError, OSError) as error:
            if isinstance(error, (RedisTimeout, TimeoutError)):
                self._silent_until = time.monotonic() + SILENT_SECONDS
            raise _down(type(error).__name__) from None


def _decoded(value: bytes | str | None) -> Pin | None:
    """A value that is no pin counts as absent: it is somebody else's, and the next decision replaces it."""
    try:
        return None if value is None else Pin.model_validate_json(value)
    except ValidationError:
        return None


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _down(trouble: str) -> StoreDown:
    return StoreDown(f"Redis does not answer ({trouble})", "is it running, and is session_cache.url right?")
