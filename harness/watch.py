"""The queues of one or several repositories, worked off under one allowance: once, or for as long as there is a reason.

drain each ─→ pause ─an issue changed, `queue.poll_seconds` are over─→ drain each ─→ …
          └─→ the end: asked to stop, the allowance used up, or trouble that only a person can mend
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from harness import spool
from harness.allowance import Allowance
from harness.queue import ATTENTION_SECONDS, Queue, QueueReport
from harness.stop import Stop
from harness.suggest import suggest

COUNTS = ("taken", "done", "failed", "rejected", "released")
"""The numbers of a report, in the order of telling."""


class Watch:
    """Works off its `queues`, one after another, and adds up their reports; `tell` hears why it waits."""

    def __init__(self, allowance: Allowance, stop: Stop, tell: Callable[[str], None] = lambda text: None) -> None:
        self.queues: list[Queue] = []
        self._allowance, self._clock = allowance, allowance.clock
        self._stop, self._tell = stop, tell
        self._ended: str | None = None

    async def once(self) -> QueueReport:
        """Work until nothing is ready anywhere, or nothing more may be taken."""
        for queue in self.queues:
            if not self._stop.requested and not queue.halted:
                await queue.drain()
        return self.report

    async def on(self) -> QueueReport:
        """Go on until asked to stop, until the allowance is used up, or until a person has to mend something."""
        while not self._stop.requested and (await self.once()).exit_code not in (2, 130):
            self._ended = self._allowance.used_up()
            if self._ended:
                break
            await self._pause()
        return self.report

    async def _pause(self) -> None:
        """Until the next look: `queue.poll_seconds`, or an event of the tracker's hook.

        A queue that stands still after failures, an outage or a used-up day goes on when somebody changes an issue,
        when the next day begins, or after `queue.outage_give_up_seconds`.
        """
        settings, today = self.queues[0].deps.settings.queue, self._clock.today()
        halted = [queue for queue in self.queues if queue.halted]
        for queue in halted:
            self._tell(f"paused: {queue.report.stopped}; it goes on when an issue changes")
        end = self._clock.seconds() + (settings.outage_give_up_seconds if halted else settings.poll_seconds)
        while self._clock.seconds() < end and not self._stop.requested:
            if await self._events() or (halted and self._clock.today() != today):
                break
            await self._clock.sleep(min(ATTENTION_SECONDS, settings.poll_seconds))
        for queue in halted:
            queue.go_on()

    async def _events(self) -> bool:
        """Whether a hook said that issues changed; those without a tier get a suggestion where settings ask for it."""
        woken = False
        for queue in self.queues:
            deps = queue.deps
            changed = spool.drain(spool.folder(deps.settings.state))
            if changed and deps.settings.suggest_labels:
                await suggest(changed, deps.tracker, deps.router, deps.actor)
            woken = woken or bool(changed)
        return woken

    @property
    def report(self) -> QueueReport:
        """Everything so far, over all repositories."""
        reports = [queue.report for queue in self.queues]
        reasons = [self._ended, *(report.stopped for report in reports)]
        stopped = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
        return QueueReport(
            **{name: sum(getattr(report, name) for report in reports) for name in COUNTS},
            stopped=stopped or None,
            exit_code=130 if self._stop.requested else max((report.exit_code for report in reports), default=0),
            usd=sum((report.usd for report in reports), Decimal(0)),
            runs=tuple(run for report in reports for run in report.runs),
        )
