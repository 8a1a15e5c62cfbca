"""From sums of past outcomes to beliefs: which keys an issue has, and what each tier's chances and costs are.

Keys go from general to special: everything, the rule that fired, rule and issue type, rule, type and leading word.
A key's belief starts from its parent's: Beta-Bernoulli with the parent's mean as prior, worth `SHRINKAGE` outcomes or,
where the key turns out unlike its parent, `UNLIKE`. So a key with few outcomes says about what its parent says, one
with many speaks for itself, and one whose first ten contradict its parent is believed soon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

from harness.records import Sum
from harness.types import Issue

ROOT = "*"
SHRINKAGE = 16.0
"""Outcomes that a parent's mean is worth to a child that is like it …"""
UNLIKE = 2.0
"""… and to one that is not: there its own outcomes soon count for more."""
ALIKE = 0.9
"""Share of keys that are like their parents, before any outcome; the outcomes then say which kind a key is."""
PRIORS = (0.80, 0.88, 0.93)
"""Chances of success before any outcome, from the cheapest tier up. Published: a small model at about 90 % of the next
larger one's rate on bounded tasks."""
PRIOR_STRENGTH = 4.0
LATE_DISCOUNT = 0.85
"""A task that a weaker tier has failed is harder: the prior chance of the next tier is this share of its usual one."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Decayed counts of one key and tier. Costs in nano-dollars."""

    stays: float = 0.0
    solved: float = 0.0
    nusd: float = 0.0
    late_stays: float = 0.0
    late_solved: float = 0.0
    late_nusd: float = 0.0

    @property
    def seen(self) -> float:
        return self.stays + self.late_stays

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.stays + other.stays,
            self.solved + other.solved,
            self.nusd + other.nusd,
            self.late_stays + other.late_stays,
            self.late_solved + other.late_solved,
            self.late_nusd + other.late_nusd,
        )

    def times(self, weight: float) -> Tally:
        return Tally(
            self.stays * weight,
            self.solved * weight,
            self.nusd * weight,
            self.late_stays * weight,
            self.late_solved * weight,
            self.late_nusd * weight,
        )


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of one tier: chance of success as Beta(a, b), fresh and after a weaker tier's failure."""

    a: float
    b: float
    late_a: float
    late_b: float
    nusd: float | None
    """Mean cost of a task's stay at this tier; None when never seen."""
    seen: float = 0.0
    """Outcomes that speak, decayed."""

    @property
    def chance(self) -> float:
        return self.a / (self.a + self.b)

    @property
    def late_chance(self) -> float:
        return self.late_a / (self.late_a + self.late_b)

    @property
    def spread(self) -> float:
        """Standard deviation of the chance."""
        total = self.a + self.b
        return sqrt(self.a * self.b / (total * total * (total + 1)))


def keys_of(issue: Issue, rule: str, words: bool = True) -> tuple[str, ...]:
    """The issue's evidence keys, general to special; `words` false leaves out the one with a word of its title."""
    rule = base_rule(rule)
    keys = [ROOT, f"rule:{rule}", f"rule+type:{rule} {issue.type}"]
    word = leading_word(issue.title)
    if words and word:
        keys.append(f"rule+type+word:{rule} {issue.type} {word}")
    return tuple(keys)


def base_rule(rule: str) -> str:
    """The rule from which a learned decision started: `learned/explore/default` → `default`."""
    return rule.removeprefix("learned/").removeprefix("explore/")


def leading_word(title: str) -> str:
    """The title's first word, lower case, without `feat(x):` and such; empty when there is none."""
    text = re.sub(r"^\s*(?:\[[^\]]*\]\s*)*(?:[a-z]+(?:\([^)]*\))?!?:\s+)?", "", title, flags=re.IGNORECASE)
    match = re.match(r"[^\W\d_]{2,24}", text)
    return match[0].lower() if match else ""


def tally(sums: Iterable[Sum], today: int, half_life_days: float) -> dict[tuple[str, str], Tally]:
    """(key, tier) → decayed counts: an outcome `half_life_days` old counts half."""
    tallies: dict[tuple[str, str], Tally] = {}
    for item in sums:
        weight = 0.5 ** (max(0, today - item.day) / half_life_days)
        now = Tally(
            item.stays, item.solved, item.stay_nusd, item.late_stays, item.late_solved, item.late_nusd
        ).times(weight)  # fmt: skip
        place = (item.key, item.tier)
        tallies[place] = tallies[place] + now if place in tallies else now
    return tallies


def believe(
    keys: Sequence[str],
    tiers: Sequence[str],
    tallies: Mapping[tuple[str, str], Tally],
    near: Mapping[str, Tally] | None = None,
) -> dict[str, Belief]:
    """A belief for each tier, shrunk down the chain of `keys`; `near` adds similar issues' outcomes as a last link."""
    return {
        tier: _chain(
            [tallies.get((key, tier), Tally()) for key in keys] + ([near[tier]] if near and tier in near else []),
            PRIORS[min(rank, len(PRIORS) - 1)],
        )
        for rank, tier in enumerate(tiers)
    }


def _chain(links: Sequence[Tally], prior: float) -> Belief:
    a, b = prior * PRIOR_STRENGTH, (1 - prior) * PRIOR_STRENGTH
    late = prior * LATE_DISCOUNT
    late_a, late_b = late * PRIOR_STRENGTH, (1 - late) * PRIOR_STRENGTH
    cost: float | None = None
    seen = 0.0
    for number, link in enumerate(links):
        failed, late_failed = max(0.0, link.stays - link.solved), max(0.0, link.late_stays - link.late_solved)
        if number:
            a, b = _child(a, b, link.solved, failed)
            late_a, late_b = _child(late_a, late_b, link.late_solved, late_failed)
        else:
            a, b = a + link.solved, b + failed
            late_a, late_b = late_a + link.late_solved, late_b + late_failed
        if link.seen:
            spent = link.nusd + link.late_nusd
            cost = spent / link.seen if cost is None else (spent + SHRINKAGE * cost) / (link.seen + SHRINKAGE)
            seen = link.seen
    return Belief(a, b, late_a, late_b, cost, seen)


def _child(a: float, b: float, solved: float, failed: float) -> tuple[float, float]:
    """A parent's belief Beta(a, b) and a child's own outcomes → the child's belief.

    Whether the child is like its parent or not is weighed by how well each explains the outcomes; the mixture of both
    beliefs is replaced by the one Beta with its mean and variance.
    """
    total = a + b
    mean = a / total
    parts = []
    for share, strength in ((ALIKE, SHRINKAGE), (1 - ALIKE, UNLIKE)):
        # Never worth more than the parent has seen.
        worth = min(strength, total)
        before, against = mean * worth, (1 - mean) * worth
        own_a, own_b = before + solved, against + failed
        fit = _log_beta(own_a, own_b) - _log_beta(before, against) if solved or failed else 0.0
        parts.append((log(share) + fit, own_a, own_b))
    top = max(fit for fit, _, _ in parts)
    weights = [exp(fit - top) for fit, _, _ in parts]
    first = second = 0.0
    for weight, (_, own_a, own_b) in zip(weights, parts, strict=True):
        own, share = own_a + own_b, weight / sum(weights)
        centre = own_a / own
        first += share * centre
        second += share * (centre * centre + centre * (1 - centre) / (own + 1))
    size = max(1e-9, first * (1 - first) / max(1e-12, second - first * first) - 1)
    return first * size, (1 - first) * size


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
