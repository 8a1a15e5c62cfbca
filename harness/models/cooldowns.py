"""Which models are passed over for now, because they failed a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Cooldowns:
    """Model → when it may be asked again, in the clock's seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def put_aside(self, model: str, seconds: float) -> None:
        self._until[model] = self._clock() + seconds

    def left(self, model: str) -> float:
        """Seconds until the model may be asked; 0 when it may be now."""
        return max(0.0, self._until.get(model, 0.0) - self._clock())

    def free(self, models: Sequence[str]) -> list[str]:
        """Those that may be asked now, in their order."""
        return [model for model in models if not self.left(model)]

    def clear(self) -> None:
        self._until.clear()
