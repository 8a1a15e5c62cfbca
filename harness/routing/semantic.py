"""The embedded classifier: what a text means and which rare words it shares, against what routes say of themselves.

A route is its name, its description, the description's phrases and its examples; each of them is a point with a label.
Three views of them are added up, because each wins somewhere (measured on CLINC150's training half):

    kernel ridge regression over all points, meaning and words    many routes, or examples; unlearns what routes share
    the mean of a route's points                                  few examples of one thing
    the nearest of a route's points                               routes that are several things

`fit` is how likely a text belongs to any route at all; `share` is how likely it is each, if so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.config.settings import RoutePreference
from harness.routing.embedding import Vector, encoder
from harness.routing.keywords import phrases, readable, stems
from harness.routing.preferences import Scores

Floats = NDArray[np.float32]

SHARPNESS = 2.0
"""Of the meaning kernel exp(-SHARPNESS · (1 - cosine))."""
WORDS = 0.1
"""Weight of shared words beside meaning."""
RIDGE = 0.2
MAX_POINTS = 6_000
"""Beyond this a route's later examples are left out, evenly: solving takes points³."""
TEMPERATURE = 14.0
BAR, SLOPE = 0.27, 20.0
"""Logistic calibration of the raw score: at BAR a text is as likely outside all routes as inside."""


class SemanticClassifier:
    """Routes against texts; deterministic. Making it encodes every phrase once: about 2 ms each."""

    name = "embedded"
    note = ""

    def __init__(self, routes: Sequence[RoutePreference]) -> None:
        texts, owners = _points(routes)
        self._count = len(routes)
        self._starts = np.flatnonzero(np.diff(owners, prepend=-1))
        self._encoder = encoder()
        self._points = self._encoder.phrases(texts)
        self._words = _Words(texts, owners, self._count)
        sums = np.add.reduceat(self._points, self._starts)
        self._means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        kernel = _meaning(self._points @ self._points.T) + WORDS * (self._words.rows @ self._words.rows.T)
        labels = np.eye(self._count, dtype=np.float32)[owners]
        self._weights = np.linalg.solve(kernel + RIDGE * np.eye(len(owners), dtype=np.float32), labels)

    def scores(self, text: str) -> Scores:
        raw = self._raw(self._encoder.encode(text), text)
        exponents = np.exp(TEMPERATURE * (raw - raw.max()))
        share = exponents / exponents.sum()
        fit = 1 / (1 + np.exp(-SLOPE * (raw - BAR)))
        return Scores(fit.tolist(), share.tolist())

    def _raw(self, asked: Vector, text: str) -> Floats:
        """The three views, weighted so that a perfect match is about 1."""
        near = self._points @ asked
        regression = (_meaning(near) + WORDS * self._words.against(text)) @ self._weights
        nearest = np.maximum.reduceat(near, self._starts)
        mean = self._means @ asked
        raw: Floats = (2 * regression + mean + nearest) / 4
        return raw


class _Words:
    """Rows of idf-weighted stems at unit length, one a point."""

    def __init__(self, texts: Sequence[str], owners: NDArray[np.int64], routes: int) -> None:
        bags = [set(stems(text)) for text in texts]
        spread = Counter(
            stem
            for stem, _ in {(stem, owner) for bag, owner in zip(bags, owners.tolist(), strict=True) for stem in bag}
        )
        self._column = {stem: number for number, stem in enumerate(sorted(spread))}
        self._idf = {stem: math.log(1 + routes / count) for stem, count in spread.items()}
        self._unknown = math.log(1 + routes)
        self.rows = np.zeros((len(texts), len(self._column)), np.float32)
        for row, bag in zip(self.rows, bags, strict=True):
            for stem in bag:
                row[self._column[stem]] = self._idf[stem]
        self.rows /= np.maximum(np.linalg.norm(self.rows, axis=1, keepdims=True), 1e-9)

    def against(self, text: str) -> Floats:
        """Cosine with every row; words that no route has count in the length."""
        bag = set(stems(text))
        known = sorted(self._column[stem] for stem in bag if stem in self._column)
        if not known:
            return np.zeros(len(self.rows), np.float32)
        weights = np.array([self._idf.get(stem, self._unknown) for stem in sorted(bag)])
        present = np.array([self._idf[stem] for stem in sorted(bag & self._column.keys())], np.float32)
        against: Floats = self.rows[:, known] @ present / float(np.sqrt((weights**2).sum()))
        return against


def _points(routes: Sequence[RoutePreference]) -> tuple[list[str], NDArray[np.int64]]:
    """Every text that stands for a route, and the route's number, in route order."""
    room = max(4, MAX_POINTS // max(1, len(routes)))
    texts: list[str] = []
    owners: list[int] = []
    for number, route in enumerate(routes):
        name = readable(route.name) or route.name
        parts = phrases(route.description)
        said = dict.fromkeys((name, route.description, f"{name}: {route.description}", *parts, *route.examples))
        kept = [text for text in said if text.strip()][:room] or [name]
        texts += kept
        owners += [number] * len(kept)
    return texts, np.array(owners, np.int64)


def _meaning(cosines: Floats) -> Floats:
    kernel: Floats = np.exp(-SHARPNESS * (1 - cosines))
    return kernel
