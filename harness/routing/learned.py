"""What past outcomes say of an issue: the tier whose expected cost, escalation included, is lowest.

It starts from the tier a rule (or the default) gave, speaks only with evidence, departs from that tier only when it is
sure enough, and tries a cheaper one out of curiosity only where the issue is harmless and the day's exploration budget
allows. Its clock is the newest outcome and its dice are the issue's id, so the same data give the same answer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from harness.config.settings import Settings
from harness.errors import MissingTool
from harness.outcomes import FILE, Outcomes
from harness.pricing import cost_of
from harness.protocols import Opinion
from harness.records import nano
from harness.routing.evidence import Belief, Tally, base_rule, believe, keys_of, tally
from harness.routing.in_flight import EXPLORING, in_flight
from harness.routing.neighbours import Near, Neighbours, newest
from harness.routing.weighing import KNOWN, Weighed, trial_odds, weigh
from harness.types import Considered, Issue, TraceLine, Usage

_TYPICAL = Usage(requests=6, input_tokens=9_000, output_tokens=3_000, cache_read_tokens=60_000)
"""A task's tokens, for the ratio of two tiers' prices where one has no outcomes yet."""
_RISKY = re.compile(
    r"\b(?:secur\w*|auth(?:entic\w*|ori[sz]\w*)?|passwords?|credentials?|tokens?|\w*crypt\w*|payments?|billing|migrat\w*"
    r"|privacy|race conditions?)\b",
    re.IGNORECASE,
)


class LearnedStrategy:
    """A strategy fed by the outcomes stored in `state`; silent until there is evidence."""

    name = "learned"

    def __init__(self, state: Path, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._tiers = tuple(settings.tiers)
        self._store: Outcomes | None = None
        self._version = -1
        self._today = 0
        self._tallies: dict[str, dict[tuple[str, str], Tally]] = {}
        self._neighbours: Near | None = None
        self._promised: dict[str, tuple[int, int]] = {}
        """Issue → (day, possible loss) of tries decided here; the journal may not know them yet."""

    def consider(self, issue: Issue, start: Opinion | None = None) -> Considered:
        """The past's opinion; `start` is what a rule said, and None stands for the default tier.

        No opinion means: nothing to add to the starting tier. The trace tells the evidence either way.
        """
        learned = self._settings.routing.learned
        if not learned.enabled:
            return _silent("switched off (routing.learned.enabled)")
        if not self._ready():
            return _silent("no outcomes yet")
        rule = base_rule(start.rule) if start else "default"
        tier = start.tier if start else self._settings.routing.default_tier
        if tier not in self._tiers:
            return _silent(f"tier '{tier}' is not configured")
        keys = keys_of(issue, rule, words=self._settings.content)
        tallies = self._of(keys)
        speaking = [key for key in keys if _seen(tallies, key, self._tiers) >= learned.min_outcomes]
        if not speaking:
            seen = _seen(tallies, keys[0], self._tiers)
            return _silent(f"{seen:.0f} outcomes so far; speaks from {learned.min_outcomes}")
        near = self._near(issue)
        beliefs = self._costed(believe(keys, self._tiers, tallies, near))
        return self._decide(issue, rule, self._tiers.index(tier), speaking[-1], beliefs, tallies, bool(near))

    def _decide(
        self, issue: Issue, rule: str, start: int, key: str, beliefs: Mapping[str, Belief],
        tallies: Mapping[tuple[str, str], Tally], near: bool,
    ) -> Considered:  # fmt: skip
        ladder = [beliefs[tier] for tier in self._tiers]
        seen_enough = [tallies.get((key, tier), Tally()).seen >= KNOWN for tier in self._tiers]
        trace = [*_evidence(key, self._tiers, tallies, near)]
        if any(belief.nusd is None for belief in ladder):
            unknown = ", ".join(tier for tier in self._tiers if beliefs[tier].nusd is None)
            return Considered(None, (*trace, _line(f"cost of {unknown} unknown: cannot compare", False)))
        bar = self._settings.routing.learned.min_success
        known = [seen and (rank >= start or ladder[rank].chance >= bar) for rank, seen in enumerate(seen_enough)]
        if not harmless(issue):
            # Verification does not see every flaw: where there is risk, the past may only ask for a stronger tier.
            known = [rank >= start and seen for rank, seen in enumerate(known)]
        weighed = weigh(ladder, start, known)
        trace.append(_line(_expected(self._tiers, weighed), False))
        chosen = weighed.best
        explore, odds = self._explore(issue, ladder, weighed, seen_enough)
        if explore:
            tier = self._tiers[chosen - 1]
            reason = f"tries {tier}: harmless, and {odds:.0%} of such issues are given to it to learn from"
            opinion = Opinion(tier=tier, rule=f"{EXPLORING}{rule}", reason=reason, confidence=0.5, propensity=odds)
            return Considered(opinion, (*trace, _line(reason, True)))
        if chosen == start and not odds:
            return Considered(None, (*trace, _line(f"agrees with {self._tiers[start]}", False)))
        tier, seen = self._tiers[chosen], _seen(tallies, key, self._tiers)
        saved = 1 - weighed.expected[chosen] / weighed.expected[start]
        reason = f"of {seen:.0f} outcomes of '{key}', {tier} is expected to be cheapest"
        if chosen != start:
            reason += f": {saved:.0%} below {self._tiers[start]}, {min(weighed.sure, 0.99):.0%} sure"
        opinion = Opinion(
            tier=tier, rule=f"learned/{rule}", reason=reason, confidence=round(weighed.sure, 3), propensity=1 - odds
        )
        return Considered(opinion, (*trace, _line(reason, True)))

    def _explore(
        self, issue: Issue, ladder: Sequence[Belief], weighed: Weighed, known: Sequence[bool]
    ) -> tuple[bool, float]:
        """Whether to try the next cheaper tier, and the probability with which such issues do."""
        learned = self._settings.routing.learned
        if not learned.explore_usd_per_day or not harmless(issue):
            return False, 0.0
        odds = trial_odds(weighed, ladder, known, learned.min_success)
        if not odds or not self._affords(issue.id, weighed.best - 1, ladder):
            return False, 0.0
        if _dice(issue.id) >= odds:
            return False, odds
        self._promised[issue.id] = (self._today, int(ladder[weighed.best - 1].nusd or 0))
        return True, odds

    def _affords(self, issue_id: str, rank: int, ladder: Sequence[Belief]) -> bool:
        """Whether the day's budget bears one more failed try, should every try that is under way fail, too."""
        under_way = in_flight(self._state)
        if under_way is None:
            return False
        stay = {tier: int(belief.nusd or 0) for tier, belief in zip(self._tiers, ladder, strict=True)}
        reserved = {issue: loss for issue, (day, loss) in self._promised.items() if day == self._today}
        reserved |= {one.issue_id: one.tasks * stay.get(one.tier, 0) for one in under_way}
        reserved[issue_id] = stay[self._tiers[rank]]
        return self._explored() + sum(reserved.values()) <= nano(self._settings.routing.learned.explore_usd_per_day)

    # ── data ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ready(self) -> bool:
        """Open the store once it is there, and drop what was read of an older state of it."""
        if self._store is None:
            if not (self._state / FILE).exists():
                return False
            self._store = Outcomes(self._state, create=False)
        version = self._store.version()
        if version != self._version:
            self._version = version
            self._tallies.clear()
            self._neighbours = None
            newest = self._store.query("SELECT max(day) FROM sums WHERE key = '*' AND scripted = 0")
            self._today = newest[0][0] or 0
            for (issue_id,) in self._store.query("SELECT issue_id FROM runs WHERE at / 86400 = ?", self._today):
                self._promised.pop(issue_id, None)
        return True

    def _of(self, keys: Sequence[str]) -> dict[tuple[str, str], Tally]:
        assert self._store is not None
        missing = [key for key in keys if key not in self._tallies]
        if missing:
            read = tally(self._store.sums(missing), self._today, self._settings.routing.learned.half_life_days)
            for key in missing:
                self._tallies[key] = {place: found for place, found in read.items() if place[0] == key}
        return {place: found for key in keys for place, found in self._tallies[key].items()}

    def _near(self, issue: Issue) -> dict[str, Tally]:
        assert self._store is not None
        if not self._settings.content:
            return {}
        if self._neighbours is None:
            self._neighbours = self._similar(self._store)
        return self._neighbours.tallies(issue.title)

    def _similar(self, store: Outcomes) -> Near:
        if self._settings.routing.learned.neighbours == "words":
            return Neighbours(newest(store))
        try:
            embedded = importlib.import_module("harness.routing.near_embedded")
        except ModuleNotFoundError as error:
            raise MissingTool(
                f"routing.learned.neighbours: embedded needs {error.name}", "pip install numpy onnxruntime tokenizers"
            ) from None
        near: Near = embedded.EmbeddedNeighbours(newest(store, embedded.READ))
        return near

    def _explored(self) -> int:
        assert self._store is not None
        rows = self._store.query("SELECT total(explored_nusd) FROM runs WHERE at / 86400 = ?", self._today)
        return int(rows[0][0])

    def _costed(self, beliefs: Mapping[str, Belief]) -> dict[str, Belief]:
        """Tiers without outcomes cost what the nearest tier with some costs, times the ratio of their prices."""
        seen = [rank for rank, tier in enumerate(self._tiers) if beliefs[tier].nusd is not None]
        costed = dict(beliefs)
        for rank, tier in enumerate(self._tiers):
            if beliefs[tier].nusd is None and seen:
                other = self._tiers[min(seen, key=lambda known: abs(known - rank))]
                ratio = self._price_ratio(tier, other)
                base = beliefs[other]
                if ratio is not None and base.nusd is not None:
                    belief = beliefs[tier]
                    costed[tier] = Belief(belief.a, belief.b, belief.late_a, belief.late_b, base.nusd * ratio)
        return costed

    def _price_ratio(self, tier: str, other: str) -> float | None:
        own = self._settings.prices
        price = cost_of(self._settings.tiers[tier][0], _TYPICAL, own=own)
        base = cost_of(self._settings.tiers[other][0], _TYPICAL, own=own)
        return float(price / base) if price is not None and base else None


def harmless(issue: Issue) -> bool:
    """Whether an issue may be used to learn from: nothing urgent, and no word or label of risk."""
    text = " ".join((issue.title, issue.body, *issue.labels))
    return issue.priority > 0 and not _RISKY.search(text) and "critical" not in issue.labels


def _dice(issue_id: str) -> float:
    """Between 0 and 1, the same for the same issue."""
    return int.from_bytes(sha256(f"explore:{issue_id}".encode()).digest()[:8], "big") / 2**64


def _seen(tallies: Mapping[tuple[str, str], Tally], key: str, tiers: Sequence[str]) -> float:
    return sum(tallies[key, tier].seen for tier in tiers if (key, tier) in tallies)


def _evidence(
    key: str, tiers: Sequence[str], tallies: Mapping[tuple[str, str], Tally], near: bool
) -> tuple[TraceLine, ...]:
    parts = []
    for tier in tiers:
        known = tallies.get((key, tier), Tally())
        if known.seen:
            solved = known.solved + known.late_solved
            mean = (known.nusd + known.late_nusd) / known.seen * 1e-9
            parts.append(f"{tier} solved {solved:.0f} of {known.seen:.0f} at ${mean:.4f}")
    return (_line(f"past of '{key}': {', '.join(parts)}" + ("; similar issues weighed in" if near else ""), False),)


def _expected(tiers: Sequence[str], weighed: Weighed) -> str:
    costs = (f"from {tier} ${cost * 1e-9:.4f}" for tier, cost in zip(tiers, weighed.expected, strict=True))
    return f"expected cost with escalation: {', '.join(costs)}"


def _line(why: str, matched: bool) -> TraceLine:
    return TraceLine(rule="learned", matched=matched, why=why)


def _silent(why: str) -> Considered:
    return Considered(None, (_line(why, False),))
