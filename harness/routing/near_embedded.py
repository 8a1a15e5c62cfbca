"""Similar past issues by the meaning of their titles, for `routing.learned.neighbours: embedded`.

The titles' vectors stay in the process, so a worker or gateway pays for each title once; a single command pays for all
`READ` of them, about a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.routing.embedding import encoder
from harness.routing.evidence import Tally
from harness.routing.neighbours import Row, weighed

READ = 300
"""Newest outcomes that are compared."""
SIMILAR = 0.5
"""Cosine under which two titles have nothing to do with each other."""


class EmbeddedNeighbours:
    """The titles as a matrix of unit vectors."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._matrix = encoder().phrases(row[0] for row in rows)

    def tallies(self, title: str) -> dict[str, Tally]:
        """See `harness.routing.neighbours.Near`."""
        if not self._rows:
            return {}
        scores = self._matrix @ encoder().encode(title)
        return weighed(((float(score), index) for index, score in enumerate(scores) if score >= SIMILAR), self._rows)
