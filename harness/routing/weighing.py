"""From beliefs to a choice: what beginning at each tier costs in the end, how sure that is, when doubt merits a try.

Pure, and the same for routing and for its offline evaluation, so that what is evaluated is what routing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, hypot, sqrt

from harness.routing.evidence import Belief

SURE = 0.9
"""Depart from the starting tier only at this probability that the other one is cheaper. At 0.8 some of the logs
of tests/benchmarks/bench_learned.py end with a large key at the wrong tier."""
MARGIN = 0.95
"""… and only when the expected cost is below this share of the starting tier's."""
KNOWN = 10.0
"""Outcomes a tier must have at the speaking key; with fewer it can only be explored."""
NARROWED = 0.8
"""A try's odds are drawn from beliefs this much narrower than they are (Thompson sampling draws from them as they are,
which tries more than a log of 14,000 outcomes repays)."""
FAINT = 0.05
"""Odds under which a cheaper tier is not tried any more: over many keys, faint hopes add up to a price. Until the tier
is known at a key, though, it is tried that often whatever its parent says: only so can an unlike key show itself."""


@dataclass(frozen=True)
class Weighed:
    """What beginning at each tier costs to the end of the work, in one unit, and where to begin."""

    expected: tuple[float, ...]
    spread: tuple[float, ...]
    """Standard deviation of `expected`, from the doubt about the tier's own chance."""
    best: int
    sure: float
    """Probability that beginning at `best` is cheaper than at the starting tier; 1 when they are the same."""

    def odds(self, rank: int, other: int, narrowed: float = 1.0) -> float:
        """The probability that beginning at `rank` costs less than at `other` (normal approximation)."""
        return _odds(self.expected, self.spread, rank, other, narrowed)


def weigh(ladder: Sequence[Belief], start: int, known: Sequence[bool], unsolved: float | None = None) -> Weighed:
    """Expected cost from every tier, cheap to strong, and the tier to begin at.

    From tier i: its cost, plus, where it fails, what follows after a failure. When the strongest fails too, the work
    is charged once more at its cost: somebody has to do it. With `unsolved`, nothing follows: a failure costs that
    much, at any tier. Every belief must have a cost. Only tiers that are `known` are departed to or from.
    """
    after = (ladder[-1].nusd or 0.0) if unsolved is None else unsolved
    expected, spread = [0.0] * len(ladder), [0.0] * len(ladder)
    for rank in reversed(range(len(ladder))):
        belief, cost = ladder[rank], ladder[rank].nusd or 0.0
        expected[rank] = cost + (1 - belief.chance) * after
        spread[rank] = belief.spread * after
        after = cost + (1 - belief.late_chance) * after if unsolved is None else unsolved
    best, sure = start, 1.0
    for rank in range(len(ladder)):
        if rank == start or not known[rank] or (rank > start and not known[start]):
            continue
        if expected[rank] > MARGIN * expected[start] or expected[rank] >= expected[best]:
            continue
        odds = _odds(expected, spread, rank, start)
        if odds >= SURE:
            best, sure = rank, odds
    return Weighed(tuple(expected), tuple(spread), best, sure)


def trial_odds(weighed: Weighed, ladder: Sequence[Belief], known: Sequence[bool], min_success: float = 0.0) -> float:
    """The probability with which the tier below the best one should be tried, to learn; 0 when it is not worth it.

    It is how likely that tier is the cheaper one after all, so tries thin out as hope does, and grow into a choice as
    evidence does. A tier that hardly can reach `min_success` is not tried.
    """
    below = weighed.best - 1
    if below < 0:
        return 0.0
    odds = weighed.odds(below, weighed.best, NARROWED)
    if min_success:
        odds = min(odds, chance_above(ladder[below], min_success))
    if odds >= FAINT:
        return odds
    return 0.0 if known[below] else FAINT


def chance_above(belief: Belief, bar: float) -> float:
    """Probability that the tier's true chance is above `bar` (normal approximation)."""
    return _phi(belief.chance - bar, belief.spread)


def _odds(expected: Sequence[float], spread: Sequence[float], rank: int, other: int, narrowed: float = 1.0) -> float:
    return _phi(expected[other] - expected[rank], narrowed * hypot(spread[rank], spread[other]))


def _phi(lead: float, spread: float) -> float:
    return 0.5 * (1 + erf(lead / (spread * sqrt(2)))) if spread else float(lead > 0)
