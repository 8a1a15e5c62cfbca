"""What people ask, by kind: requests that teach a described route what it looks like when somebody means it.

"complex reasoning, multi-step analysis" shares neither words nor much meaning with "rent or buy for thirty years?"; it
does with the name of a kind of requests to which that one belongs. So a route takes up the requests of the kinds that
it names, each by a share; a request that no route takes up stands for what no route is about.

The requests and their vectors come with the package: `data/requests.txt`, `data/requests.npy`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NEAR, SAME = 0.5, 0.85
"""Cosines of a kind's name and a route's phrase: where the route begins to take the kind up, where it fully does."""
LIKE, ALIKE = 0.4, 0.8
"""Cosines of a request and a route's phrase: where it begins to be less than foreign, where it is not at all."""
RIVALRY = 15.0
"""A route nearer by 0.1, to a kind or to one of its requests, leaves the others exp(-RIVALRY · 0.1) of their share."""
SLIGHT = 0.05
"""Routes with less of a kind are no rivals for its requests."""


class Kinds:
    """Vectors of unit length: `requests` [requests, 384], and of the kinds' names."""

    def __init__(self) -> None:
        lines = read()
        with (files("harness.routing") / "data" / "requests.npy").open("rb") as file:
            vectors = np.load(file).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        named = np.array([what == "name" for what, _, _ in lines])
        kinds = np.array([kind for _, kind, _ in lines])
        self.requests: Floats = vectors[~named]
        self._names: Floats = vectors[named]
        self._name_starts = np.flatnonzero(np.diff(kinds[named], prepend=-1))
        self._kind_of = kinds[~named]
        self.typical_name: Floats = self._names.mean(0)
        self.typical_request: Floats = self.requests.mean(0)

    def taken(self, points: Floats, starts: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """How much of each request each route takes up, [requests, routes]; how foreign it is to them all. 0 to 1.

        `points` are the phrases of the routes, in the routes' order; `starts` is where each route's begin. The shares
        of one request add up to 1 at most.
        """
        near = np.maximum.reduceat(self._names @ points.T, self._name_starts, axis=0)
        near = np.maximum.reduceat(near, starts, axis=1)
        named = ((near - NEAR) / (SAME - NEAR)).clip(0, 1) * np.exp(RIVALRY * (near - near.max(1, keepdims=True)))
        shares = named[self._kind_of]
        own = np.maximum.reduceat(self.requests @ points.T, starts, axis=1)
        best = np.where(shares > SLIGHT, own, -1).max(1, keepdims=True)
        shares = shares * np.exp(RIVALRY * (own - best).clip(max=0))
        shares = (shares / np.maximum(shares.sum(1, keepdims=True), 1)).astype(np.float32)
        foreign = 1 - np.maximum(shares.max(1), ((own.max(1) - LIKE) / (ALIKE - LIKE)).clip(0, 1))
        return shares, foreign


def read() -> list[tuple[Literal["name", "request"], int, str]]:
    """What has a vector in `requests.txt`, in the vectors' order: name or request, its kind's number, the text."""
    rows: list[tuple[Literal["name", "request"], int, str]] = []
    kind = -1
    for line in (files("harness.routing") / "data" / "requests.txt").read_text("utf-8").splitlines():
        if line.startswith("= "):
            kind += 1
            rows += [("name", kind, name.strip()) for name in line[2:].split("|")]
        elif line and not line.startswith("#"):
            rows.append(("request", kind, line))
    return rows


@cache
def kinds() -> Kinds:
    """The process's kinds, loaded when first asked for (a few milliseconds)."""
    return Kinds()
