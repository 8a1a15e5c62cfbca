"""Offline evaluation of routing on a table of what a weak and a strong model made of the same queries.

Rows come from `harness.report.tables`. Two questions are answered:

- Regret: the rows are walked in order, each is routed by what the earlier ones taught (only the chosen tier's outcome
  is learned), and the net value is compared with the best fixed tier and with oracles.
- Cost and quality: one half of the rows teaches, the other is ranked by the weak tier's expected disadvantage; giving
  ever more of it to the strong tier draws the curve.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise

from harness.errors import HarnessError
from harness.report.tables import Row
from harness.routing.evidence import Tally, believe
from harness.routing.neighbours import Neighbours
from harness.routing.weighing import KNOWN, trial_odds, weigh

TIERS = ("weak", "strong")
PRICE = 0.10
"""What asking the strong tier costs more than asking the weak one, in units of one solved query."""


@dataclass(frozen=True)
class Point:
    """A share of queries given to the strong tier, with what that costs and how good it is."""

    strong_share: float
    cost: float
    """As a share of giving all to the strong tier."""
    quality: float


@dataclass(frozen=True)
class Evaluation:
    rows: int
    values: dict[str, float]
    """Policy → mean net value of a row: solved, less the price of the strong tier where it was asked."""
    regret_fixed: float
    """Net value lost against the better of the two fixed tiers; negative: routing was better."""
    regret_oracle: float
    """Net value lost against knowing each row's outcome."""
    weak_quality: float
    strong_quality: float
    curve: tuple[Point, ...]
    cost_at_95: float | None
    """Cost at 95 % of the strong tier's quality, as a share of its cost; None where the curve never gets there."""
    area: float
    """Mean quality over cost shares from the weak tier's cost to the strong one's."""
    area_random: float
    """The same for routing by lot: the midpoint of the two tiers' qualities."""


def evaluate(rows: Sequence[Row], price: float = PRICE) -> Evaluation:
    """The table's answers; raises HarnessError for fewer than 20 rows."""
    if len(rows) < 20:
        raise HarnessError(f"{len(rows)} rows are too few to say anything", "give at least 20")
    net_strong = [row.strong - price for row in rows]
    values = {
        "always weak": _mean([row.weak for row in rows]),
        "always strong": _mean(net_strong),
        "learned": replay(rows, learner(price), price),
        "oracle by pattern": _by_pattern(rows, price),
        "oracle by row": _mean([max(row.weak, net) for row, net in zip(rows, net_strong, strict=True)]),
    }
    curve = cost_quality(rows)
    weak, strong = curve[0].quality, curve[-1].quality
    return Evaluation(
        rows=len(rows),
        values=values,
        regret_fixed=max(values["always weak"], values["always strong"]) - values["learned"],
        regret_oracle=values["oracle by row"] - values["learned"],
        weak_quality=weak,
        strong_quality=strong,
        curve=curve,
        cost_at_95=next((point.cost for point in curve if point.quality >= 0.95 * strong), None),
        area=area(curve),
        area_random=(weak + strong) / 2,
    )


Policy = Callable[[Row, Mapping[tuple[str, str], Tally], random.Random], bool]
"""Whether a row goes to the strong tier, given the tallies of earlier rows by (key, tier)."""


DAY = 250
"""Rows after which old ones fade, where they do."""


def replay(
    rows: Sequence[Row], policy: Policy, price: float = PRICE, seed: int = 0, half_life: float | None = None
) -> float:
    """Mean net value of a policy that learns as it goes, and only from the tier it chose.

    `half_life` is the number of rows after which a row counts half; None: rows do not fade.
    """
    random_ = random.Random(seed)
    tallies: dict[tuple[str, str], Tally] = {}
    net = 0.0
    for at, row in enumerate(rows):
        if half_life and at % DAY == 0:
            tallies = {place: seen.times(0.5 ** (DAY / half_life)) for place, seen in tallies.items()}
        strong = policy(row, tallies, random_)
        solved = row.strong if strong else row.weak
        net += solved - (price if strong else 0.0)
        seen = Tally(1.0, solved)
        for key in row.keys():
            place = (key, TIERS[strong])
            tallies[place] = tallies[place] + seen if place in tallies else seen
    return net / len(rows)


def learner(price: float = PRICE, exploring: bool = True) -> Policy:
    """What `routing/learned.py` does: begin strong, go down where that is surely better, and try it where it may be.

    An unsolved row costs one unit, and nothing follows a failure.
    """

    def choose(row: Row, tallies: Mapping[tuple[str, str], Tally], random_: random.Random) -> bool:
        keys = row.keys()
        weak, strong = believe(keys, TIERS, tallies).values()
        ladder = (replace(weak, nusd=0.0), replace(strong, nusd=price))
        known = [tallies.get((keys[-1], tier), Tally()).seen >= KNOWN for tier in TIERS]
        weighed = weigh(ladder, 1, known, unsolved=1.0)
        return weighed.best == 1 and not (exploring and random_.random() < trial_odds(weighed, ladder, known))

    return choose


def cost_quality(rows: Sequence[Row], steps: int = 50) -> tuple[Point, ...]:
    """The curve on the half of the rows that taught nothing, from all weak to all strong."""
    teach = [row for row in rows if _half(row.text)] or list(rows)
    test = [row for row in rows if not _half(row.text)] or list(rows)
    gains = _gains(teach, test)
    order = sorted(range(len(test)), key=lambda index: -gains[index])
    whole = sum(row.strong_cost for row in test)
    points: list[Point] = []
    for step in range(steps + 1):
        given = set(order[: round(len(order) * step / steps)])
        cost = sum(row.strong_cost if index in given else row.weak_cost for index, row in enumerate(test))
        quality = _mean([row.strong if index in given else row.weak for index, row in enumerate(test)])
        points.append(Point(step / steps, cost / whole, quality))
    return tuple(points)


def area(curve: Sequence[Point]) -> float:
    """Mean quality over the curve's cost range (trapezoids)."""
    width = curve[-1].cost - curve[0].cost
    if not width:
        return curve[0].quality
    return sum((b.cost - a.cost) * (a.quality + b.quality) / 2 for a, b in pairwise(curve)) / width


def _gains(teach: Sequence[Row], test: Sequence[Row]) -> list[float]:
    """For each test row, by how much the strong tier is expected to be better."""
    tallies: dict[tuple[str, str], Tally] = {}
    for row in teach:
        for key in row.keys():
            for tier, solved in zip(TIERS, (row.weak, row.strong), strict=True):
                tallies[key, tier] = tallies.get((key, tier), Tally()) + Tally(1.0, solved)
    near = Neighbours((row.text, tier, solved, 0, 0) for row in teach
                      for tier, solved in zip(TIERS, (row.weak, row.strong), strict=True))  # fmt: skip
    gains = []
    for row in test:
        beliefs = believe(row.keys(), TIERS, tallies, near.tallies(row.text))
        gains.append(beliefs["strong"].chance - beliefs["weak"].chance)
    return gains


def _by_pattern(rows: Sequence[Row], price: float) -> float:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        own = sums[row.keys()[-1]]
        own[0] += row.weak
        own[1] += row.strong - price
    return sum(map(max, sums.values())) / len(rows)


def _half(text: str) -> bool:
    return sha256(text.encode()).digest()[0] % 2 == 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
