"""Tokens a model may use per unit of time, for each client that a header tells apart."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from harness.config.gateway_section import RateLimit

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
KEPT = 10_000
"""Buckets kept: one per limit and header value; the longest unused goes first."""


class RateLimiter:
    """Buckets that refill evenly. A request is let in on its estimated input; what it really used is settled after."""

    def __init__(self, limits: Sequence[RateLimit], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = tuple(limits), clock
        self._buckets: OrderedDict[tuple[int, str], tuple[float, float]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._limits)

    def take(self, model: str, headers: Mapping[str, str], tokens: int) -> float | None:
        """None when the request may go, its tokens taken; else the seconds after which it may be tried again."""
        now, found = self._clock(), list(self._of(model, headers))
        for number, key in found:
            left, limit = self._left(number, key, now), self._limits[number]
            if tokens > left:
                return max(1.0, (min(tokens, limit.tokens) - left) * _SECONDS[limit.per] / limit.tokens)
        for number, key in found:
            self._put(number, key, self._left(number, key, now) - tokens, now)
        return None

    def settle(self, model: str, headers: Mapping[str, str], estimated: int, used: int) -> None:
        """Replace the estimate by what was used; a bucket may go below nothing and then takes longer to fill.

        Never by more than one filling: a single long answer would shut its client out for hours.
        """
        now = self._clock()
        for number, key in self._of(model, headers):
            left = self._left(number, key, now) + estimated - used
            self._put(number, key, max(left, -float(self._limits[number].tokens)), now)

    def _of(self, model: str, headers: Mapping[str, str]) -> list[tuple[int, str]]:
        found = []
        for number, limit in enumerate(self._limits):
            value = headers.get(limit.header.lower()) if limit.header else ""
            same_model = limit.model in (model, model.partition("/")[2])
            if same_model and value is not None and limit.value in (None, value):
                found.append((number, value))
        return found

    def _left(self, number: int, key: str, now: float) -> float:
        limit = self._limits[number]
        left, since = self._buckets.get((number, key), (float(limit.tokens), now))
        return min(float(limit.tokens), left + (now - since) * limit.tokens / _SECONDS[limit.per])

    def _put(self, number: int, key: str, left: float, now: float) -> None:
        self._buckets[number, key] = (left, now)
        self._buckets.move_to_end((number, key))
        while len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
