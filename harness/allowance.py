"""What `harness work` may take on: issues and money, for one command over all its repositories, and by the day.

an issue's run ─draws from→ the repository's share ─→ its day ─→ the command
"""

from __future__ import annotations

from datetime import date

from harness.budget import Meter
from harness.clock import Clock
from harness.errors import BudgetExceeded
from harness.protocols import Journal
from harness.types import Budget, Usage, Value


class Limits(Value):
    """How much one command takes on; None is unbounded."""

    parallel: int | None = None
    """Issues at once in a repository; None takes `queue.parallel_issues`."""
    max_issues: int | None = None
    budget: Budget = Budget()
    """Beside the day's (`queue.budget_per_day`)."""


class Allowance:
    """A command's limits and what it has used of them; its repositories share one."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock or Clock()
        self.meter = Meter(self.limits.budget, None, "queue", self.clock.seconds)
        self.taken = 0

    @property
    def full(self) -> bool:
        """Whether as many issues were taken as there may be."""
        return self.limits.max_issues is not None and self.taken >= self.limits.max_issues

    def used_up(self) -> str | None:
        """Why no issue may be taken any more, however long one waits; None while one may."""
        if self.full:
            many = f"{self.taken} issues were" if self.taken > 1 else "1 issue was"
            return f"{many} taken, and --max-issues allows no more"
        return reached(self.meter)


class Share:
    """One repository's part of an allowance, bounded by its own day's budget."""

    def __init__(self, allowance: Allowance, per_day: Budget) -> None:
        self._allowance, self._per_day = allowance, per_day
        self._day: date | None = None
        self._spent = Meter(Budget(), allowance.meter, "repository", allowance.clock.seconds)

    @property
    def spent(self) -> Usage:
        """What was spent now; what runs repeat from their journal is not in it."""
        return self._spent.usage

    async def renew(self, journal: Journal) -> None:
        """Draw from today's budget, of which today's earlier runs have used their part."""
        clock = self._allowance.clock
        if self._day == clock.today():
            return
        day = Meter(self._per_day, None, "day", clock.seconds)
        for run in await journal.runs(since=clock.midnight()):
            day.add(run.usage)
        day.parent = self._allowance.meter  # only now: what was spent earlier is no matter of this command
        self._day, self._spent.parent = clock.today(), day

    def meter(self, repeated: Usage) -> Meter:
        """A meter for one issue's run, which is going to repeat `repeated` from its journal: counted already."""
        self._spent.add(Usage(**{name: -getattr(repeated, name) for name in Usage.model_fields}))
        return self._spent.child(Budget(), "issue")

    def used_up(self) -> str | None:
        """Which budget is used up, the day's or the command's; None for neither."""
        return reached(self._spent)


def reached(meter: Meter) -> str | None:
    """Which bound has been reached, on this meter or above it."""
    try:
        meter.check()
    except BudgetExceeded as bound:
        return bound.message
    return None
