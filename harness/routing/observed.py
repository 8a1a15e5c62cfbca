"""What the tasks of the recent past used: tokens that replace the priors of estimates."""

from __future__ import annotations

from pathlib import Path

from harness.outcomes import Outcomes
from harness.types import Usage

RECENT = 1_000
"""Attempts looked at, newest first."""

_SUMS = f"""
SELECT count(DISTINCT run_id || '/' || task_id), total(requests), total(input_tokens), total(output_tokens),
       total(cache_read_tokens), total(cache_write_tokens)
FROM (SELECT * FROM outcomes WHERE scripted = 0 AND counts = 1 ORDER BY at DESC LIMIT {RECENT})
"""


def observed(state: Path) -> tuple[int, Usage]:
    """How many tasks, and what all their attempts used together; cache writes count as five-minute ones."""
    with Outcomes(state, create=False) as outcomes:
        tasks, *sums = outcomes.query(_SUMS)[0]
    requests, fresh, output, read, write = (int(value) for value in sums)
    return int(tasks), Usage(
        requests=requests,
        input_tokens=fresh,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_5m_tokens=write,
    )
