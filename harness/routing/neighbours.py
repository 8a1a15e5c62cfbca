"""Similar past issues by the words of their titles: a last, cautious link of evidence.

Words are weighed by rarity (tf-idf cosine). Text alone says little of difficulty, so all neighbours together never
count for more than `AT_MOST` outcomes. Words cost well under a millisecond; meaning (`near_embedded.py`) costs 4 ms a
title and is there for who asks for it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from math import log, sqrt
from typing import Protocol

from harness.outcomes import Outcomes
from harness.routing.evidence import Tally

READ = 1_000
"""Newest outcomes that are compared."""
AT_MOST = 8.0
NEAREST = 20
SIMILAR = 0.35
"""Cosine under which two titles have nothing to do with each other."""
COMMON = 0.1
"""Words in a larger share of titles are not looked up."""
_WORD = re.compile(r"[^\W_]{3,30}")


Row = tuple[str, str, float, int, int]
"""Title, tier, whether it was solved, cost in nano-dollars, whether a weaker tier had failed before."""


class Near(Protocol):
    def tallies(self, title: str) -> dict[str, Tally]:
        """Tier → similar issues' outcomes, weighed by similarity; empty when nothing is similar."""


def newest(store: Outcomes, count: int = READ) -> list[Row]:
    """The newest outcomes that say something of their tier."""
    rows = store.query(
        "SELECT description, tier, success, stay_nusd, escalated FROM outcomes INDEXED BY outcomes_by_time "
        "WHERE ends = 1 AND counts = 1 AND scripted = 0 AND description != '' ORDER BY at DESC LIMIT ?",
        count,
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def weighed(similar: Iterable[tuple[float, int]], rows: Sequence[Row]) -> dict[str, Tally]:
    """The nearest of (similarity, index of a row) as counts by tier, together worth `AT_MOST` outcomes at most."""
    nearest = nlargest(NEAREST, similar)
    scale = min(1.0, AT_MOST / (sum(score for score, _ in nearest) or 1.0))
    found: dict[str, Tally] = {}
    for score, index in nearest:
        _, tier, solved, nusd, late = rows[index]
        weight = score * scale
        one = (weight, weight * solved, weight * nusd)
        found[tier] = found.get(tier, Tally()) + (Tally(0, 0, 0, *one) if late else Tally(*one))
    return found


class Neighbours:
    """An inverted index from words to past outcomes."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)
        words = [Counter(_words(row[0])) for row in self._rows]
        frequency = Counter(word for counted in words for word in counted)
        total = len(self._rows) + 1
        # A word that many titles share finds everything and says nothing.
        self._rarity = {
            word: log(total / count) for word, count in frequency.items() if count <= max(20, COMMON * total)
        }
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for index, counted in enumerate(words):
            for word, weight in self._vector(counted).items():
                self._postings[word].append((index, weight))

    def tallies(self, title: str) -> dict[str, Tally]:
        """See `Near`."""
        similar: dict[int, float] = defaultdict(float)
        for word, weight in self._vector(Counter(_words(title))).items():
            for index, other in self._postings.get(word, ()):
                similar[index] += weight * other
        return weighed(((score, index) for index, score in similar.items() if score >= SIMILAR), self._rows)

    def _vector(self, counted: Mapping[str, int]) -> dict[str, float]:
        weights = {word: count * self._rarity.get(word, 0.0) for word, count in counted.items()}
        length = sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
