"""How many tokens a task has taken here: the sizes that estimates go by once there are enough of them."""

from __future__ import annotations

from pathlib import Path

from harness.outcomes import Outcomes
from harness.types import Usage

NEWEST = 2_000
"""Attempts that are looked at: today's models and prompts, and a query of a millisecond or two."""


def observed(state: Path) -> tuple[int, Usage]:
    """The number of tasks among the newest real attempts, and all their tokens; (0, nothing) before there are any."""
    with Outcomes(state, create=False) as store:
        [row] = store.query(
            """SELECT count(DISTINCT run_id || '/' || task_id), total(requests), total(input_tokens),
            total(output_tokens), total(cache_read_tokens), total(cache_write_tokens) FROM (
            SELECT * FROM outcomes WHERE scripted = 0 ORDER BY at DESC LIMIT ?)""",
            NEWEST,
        )
    tasks, requests, fresh, out, read, written = map(int, row)
    return tasks, Usage(
        requests=requests, input_tokens=fresh, output_tokens=out, cache_read_tokens=read, cache_write_5m_tokens=written
    )
