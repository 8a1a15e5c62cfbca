"""Tries of a cheaper tier that are still under way: their loss is not known yet, so the whole of it is reserved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.records import DAY
from harness.types import UNFINISHED

JOURNAL = "journal.db"
EXPLORING = "learned/explore/"
"""Beginning of the rule of a decision that tries a cheaper tier."""

_QUERY = f"""
SELECT issue_id, json_extract(value, '$.route.tier'), coalesce(json_array_length(value, '$.plan.tasks'), 1)
FROM runs
WHERE status IN ({", ".join("?" * len(UNFINISHED))}) AND updated_at > (SELECT max(updated_at) FROM runs) - {DAY}
  AND json_extract(value, '$.route.rule') LIKE '{EXPLORING}%' AND NOT json_extract(value, '$.scripted')
"""


@dataclass(frozen=True)
class Try:
    issue_id: str
    tier: str
    tasks: int
    """As planned; 1 while there is no plan."""


def in_flight(state: Path) -> tuple[Try, ...] | None:
    """The unfinished runs in the journal of `state` that try a cheaper tier and moved in the last day.

    None when the journal cannot be read, so that nobody knows.
    """
    path = state / JOURNAL
    if not path.exists():
        return ()
    try:
        # Not as the journal itself opens it: a decision makes no file, changes none, and waits for nobody.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.2)) as db:
            return tuple(Try(*row) for row in db.execute(_QUERY, UNFINISHED))
    except sqlite3.DatabaseError:
        return None
