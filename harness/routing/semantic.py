"""The embedded classifier: what a text means and which rare words it shares, against what routes say of themselves.

A route is its name, its description, the description's phrases and its examples; each of them is a point with a label.
The requests of the kinds that a route names (`kinds.py`) are points too, with labels in shares. Three views of a text
are added up, because each wins somewhere:

    kernel ridge regression over all points, meaning and words    many routes, or examples; unlearns what routes share
    the mean of a route's points                                  few examples of one thing
    the nearest of a route's points                               routes that are several things

`fit` is how likely a text belongs to any route at all: against it speak a nearest request that no route takes up, and
many routes, among which something is always near. `share` is how likely it is each, if so. The weights were found on
CLINC150's training half and on the `tuning` part of tests/benchmarks/route_configurations.yaml.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.config.settings import RoutePreference
from harness.routing.embedding import Encoder, Vector, encoder
from harness.routing.keywords import phrases, readable, stems
from harness.routing.kinds import kinds
from harness.routing.preferences import Scores

Floats = NDArray[np.float32]

COMMON = 0.5
"""Of what all requests, and all names, have in common, this much is taken away before they are compared."""
SHARPNESS = 2.0
"""Of the meaning kernel exp(-SHARPNESS · (1 - cosine))."""
WORDS = 0.1
"""Weight of shared words beside meaning."""
RIDGE, RIDGE_OF_REQUESTS = 0.3, 3.0
"""Requests that a route takes up are less certain than its own words."""
ENOUGH = 2.0
"""With so many examples of its own a route takes up requests by half."""
REGRESSION, MEAN, NEAREST = 2.0, 1.0, 0.5
MAX_POINTS = 6_000
"""Beyond this a route's later examples are left out, evenly: solving takes points³."""
TEMPERATURE = 26.0
FIT, FOREIGN, CROWD, BIAS = 15.0, 4.0, 0.65, 0.5
"""Logistic calibration of `fit`: of the best route's score, of the nearest request that no route takes up, and of the
logarithm of the number of routes."""


class SemanticClassifier:
    """Routes against texts; deterministic. Making it encodes every phrase once: about 2 ms each."""

    name = "embedded"
    note = ""

    def __init__(self, routes: Sequence[RoutePreference], encode: Encoder | None = None) -> None:
        texts, owners = _points(routes)
        self._count = len(routes)
        self._starts = np.flatnonzero(np.diff(owners, prepend=-1))
        self._encoder, self._kinds = encode or encoder(), kinds()
        vectors = self._encoder.phrases(texts)
        shares, self._foreign = self._kinds.taken(vectors, self._starts)
        self._shares = shares * np.array([ENOUGH / (ENOUGH + len(route.examples)) for route in routes], np.float32)
        self._taken = np.flatnonzero(self._shares.max(1))
        own = _unit(vectors - COMMON * self._kinds.typical_name)
        self._points = np.concatenate([own, _unit(self._kinds.requests - COMMON * self._kinds.typical_request)])
        self._own = len(own)
        self._means = _unit(np.add.reduceat(own, self._starts))
        self._words = _Words(texts, owners, self._count)
        self._weights = self._regression(owners)

    def _regression(self, owners: NDArray[np.int64]) -> Floats:
        kernel = _meaning(self._points @ self._points.T)
        kernel[: self._own, : self._own] += WORDS * (self._words.rows @ self._words.rows.T)
        kernel.flat[:: len(kernel) + 1] += np.where(np.arange(len(kernel)) < self._own, RIDGE, RIDGE_OF_REQUESTS)
        labels = np.concatenate([np.eye(self._count, dtype=np.float32)[owners], self._shares])
        weights: Floats = np.linalg.solve(kernel, labels)
        return weights

    def scores(self, text: str) -> Scores:
        raw, foreign = self._raw(self._encoder.encode(text), text)
        exponents = np.exp(TEMPERATURE * (raw - raw.max()))
        share = exponents / exponents.sum()
        fit = 1 / (1 + np.exp(FOREIGN * foreign + CROWD * math.log(self._count) - BIAS - FIT * raw))
        return Scores(fit.tolist(), share.tolist())

    def _raw(self, asked: Vector, text: str) -> tuple[Floats, float]:
        """The three views, weighted so that a perfect match is about 1; how near the nearest foreign request is."""
        asked = _unit(asked - COMMON * self._kinds.typical_request)
        near = self._points @ asked
        own, requests = near[: self._own], near[self._own :]
        regression = _meaning(near) @ self._weights + WORDS * self._words.against(text) @ self._weights[: self._own]
        nearest = np.maximum.reduceat(own, self._starts)
        if len(self._taken):
            lent = (requests[self._taken, None] * self._shares[self._taken]).max(0)
            nearest = np.maximum(nearest, lent)
        mean = self._means @ asked
        raw = (REGRESSION * regression + MEAN * mean + NEAREST * nearest) / (REGRESSION + MEAN + NEAREST)
        return raw.astype(np.float32), float((requests * self._foreign).max())


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
        said = dict.fromkeys((name, *_said(name, route.description, bool(route.examples)), *route.examples))
        kept = [text for text in said if text.strip()][:room] or [name]
        texts += kept
        owners += [number] * len(kept)
    return texts, np.array(owners, np.int64)


def _said(name: str, description: str, examples: bool) -> tuple[str, ...]:
    """What a description says; where a name is all there is, it is put as a request, which is what it will meet."""
    if description.strip().lower() in ("", name.lower()):
        return () if examples else (f"I want to ask about {name}",)
    return description, f"{name}: {description}", *phrases(description)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return unit


def _meaning(cosines: Floats) -> Floats:
    kernel: Floats = np.exp(-SHARPNESS * (1 - cosines))
    return kernel
