"""How a run is stopped: between steps at the first request, at once at the second; resumable either way."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from harness.config.pipelines import slug
from harness.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Watches for signals and for `harness cancel`; `gate` is asked before each new step of a run."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "cancel"
        self.requested = False

    def gate(self, run_id: str) -> None:
        """Raise Interrupted if no new step may begin."""
        if self.requested:
            raise Interrupted("stopped by a signal", f"go on with: harness resume {run_id}")
        if self._mark(run_id).exists():
            raise Interrupted("cancelled", f"it can still go on: harness resume {run_id}")

    def cancel(self, run_id: str) -> None:
        """Ask whoever works on a run, in this process or another, to stop after its current step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mark(run_id).write_text(run_id, encoding="utf-8")

    def clear(self, run_id: str) -> None:
        """Forget a request: the run may go on."""
        self._mark(run_id).unlink(missing_ok=True)

    def cancelled(self, run_id: str) -> bool:
        return self._mark(run_id).exists()

    def all_cancelled(self) -> list[str]:
        """Runs that were asked to stop, and not to go on since."""
        return [mark.read_text(encoding="utf-8") or mark.name for mark in sorted(self._folder.glob("*"))]

    def _mark(self, run_id: str) -> Path:
        return self._folder / slug(run_id, 120)

    async def watch(self, scope: anyio.CancelScope, tell: Callable[[str], None]) -> None:
        """First signal: no new step begins. Second: `scope` is cancelled now. Runs until cancelled itself."""
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            async for _ in signals:
                if self.requested:
                    scope.cancel()
                    return
                self.requested = True
                tell("stopping after the current steps; once more to stop now")


@contextmanager
def run_lock(state: Path, run_id: str) -> Iterator[None]:
    """Hold a run for this process; raises Interrupted when another process has it. A dead owner's lock is free."""
    folder = state / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{slug(run_id, 120)}.lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Interrupted(
                f"{run_id} is being worked on by another process", "watch it: harness runs --active"
            ) from None
        yield


def let_go(state: Path, run_id: str) -> bool:
    """Whether a run was held by a process that has ended; False when one holds it, and when none ever did."""
    try:
        with (state / "locks" / f"{slug(run_id, 120)}.lock").open("rb") as handle:
            # Shared, so that two who look do not see each other.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError:
        return False
