"""Which models are being passed over, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable


class Cooldown:
    """A model that failed rests for `seconds`, or as long as its provider asked for, at most ten times that."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until: dict[str, tuple[float, str]] = {}

    def rest(self, model: str, reason: str, retry_after: float | None = None) -> None:
        if self._seconds:
            span = min(max(retry_after or 0, self._seconds), 10 * self._seconds)
            self._until[model] = (self._clock() + span, reason)

    def recovered(self, model: str) -> None:
        if self._until:
            self._until.pop(model, None)

    def order(self, models: Iterable[str]) -> tuple[str, ...]:
        """The models in their order, resting ones last: they are tried only when nothing else is left."""
        models = tuple(models)
        if not self._until:
            return models
        resting = self.resting()
        return tuple(m for m in models if m not in resting) + tuple(m for m in models if m in resting)

    def resting(self) -> dict[str, tuple[float, str]]:
        """Model → (seconds left, why)."""
        now = self._clock()
        self._until = {model: entry for model, entry in self._until.items() if entry[0] > now}
        return {model: (until - now, reason) for model, (until, reason) in self._until.items()}
