"""A synthetic stand-in for a log of weak/strong outcomes: same size and margins as a published one, made-up rows.

57 patterns under 6 parents; each query belongs to a pattern and is solved or not by a weak and by a strong model. The
strong one's extra price is `PRICE`, in units of one solved query. The margins that are matched, as means per query:
always weak 0.681, always strong 0.706 (net of its price), the better tier of each pattern 0.729, and the better tier
of each query 0.841.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp

QUERIES = 14_037
PATTERNS = 57
PARENTS = 6
PRICE = 0.10
WEAK = 0.681
STRONG = 0.806
"""Before its price: 0.706 net."""
BETTER_OF_QUERY = 0.841


@dataclass(frozen=True)
class Query:
    parent: int
    pattern: int
    weak: bool
    strong: bool


def make_log(
    seed: int, spread_parent: float = 0.30, spread: float = 0.49, queries: int = QUERIES, patterns: int = PATTERNS,
    skew: float = 1.2, drift: float = 0.0,
) -> list[Query]:  # fmt: skip
    """A log in random order. The spreads (in logits) make the better-tier-of-pattern margin 0.729 on average.

    `skew` is the exponent of the patterns' sizes (Pareto; smaller is more unequal); half way, `drift` of the patterns
    change which tier suits them.
    """
    random_ = random.Random(seed)
    parents = [random_.gauss(0, spread_parent) for _ in range(PARENTS)]
    weights = [random_.paretovariate(skew) for _ in range(patterns)]
    owner = [pattern % PARENTS for pattern in range(patterns)]
    ease = [random_.gauss(0, 0.45) for _ in range(patterns)]
    gap = [parents[owner[pattern]] + random_.gauss(0, spread) for pattern in range(patterns)]
    drawn = random_.choices(range(patterns), weights, k=queries)
    if drift:
        later = [parents[owner[n]] + random_.gauss(0, spread) if random_.random() < drift else gap[n]
                 for n in range(patterns)]  # fmt: skip
        gaps = [(gap if at < queries / 2 else later)[pattern] for at, pattern in enumerate(drawn)]
    else:
        gaps = [gap[pattern] for pattern in drawn]
    weak = _centred([ease[pattern] + own / 2 for pattern, own in zip(drawn, gaps, strict=True)], WEAK)
    strong = _centred([ease[pattern] - own / 2 for pattern, own in zip(drawn, gaps, strict=True)], STRONG)
    # Solved by both more often than by chance: `both` is what the better-of-query margin leaves.
    only_strong = (BETTER_OF_QUERY - WEAK) / (1 - PRICE)
    excess = (STRONG - only_strong) - sum(a * b for a, b in zip(weak, strong, strict=True)) / queries
    log_: list[Query] = []
    for pattern, p, q in zip(drawn, weak, strong, strict=True):
        both = max(0.0, p + q - 1, min(p * q + excess, p, q))
        draw = random_.random()
        solved_weak, solved_strong = draw < p, draw < both or p <= draw < p + q - both
        log_.append(Query(owner[pattern], pattern, solved_weak, solved_strong))
    return log_


def margins(queries: list[Query]) -> dict[str, float]:
    """The four known answers of a log."""
    n = len(queries)
    by: dict[int, list[Query]] = {}
    for query in queries:
        by.setdefault(query.pattern, []).append(query)
    return {
        "always weak": sum(query.weak for query in queries) / n,
        "always strong": sum(query.strong for query in queries) / n - PRICE,
        "oracle by pattern": sum(
            max(sum(q.weak for q in own), sum(q.strong for q in own) - PRICE * len(own)) for own in by.values()
        ) / n,
        "oracle by query": sum(max(query.weak, query.strong - PRICE) for query in queries) / n,
    }  # fmt: skip


def _centred(logits: list[float], mean: float) -> list[float]:
    """Probabilities whose mean is `mean`, by shifting the logits."""
    low, high = -8.0, 8.0
    for _ in range(40):
        shift = (low + high) / 2
        now = sum(1 / (1 + exp(-(logit + shift))) for logit in logits) / len(logits)
        low, high = (shift, high) if now < mean else (low, shift)
    return [1 / (1 + exp(-(logit + shift))) for logit in logits]
