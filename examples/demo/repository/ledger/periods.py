"""Sums by period."""

from collections.abc import Callable, Iterable
from datetime import date

from ledger.entries import Entry

PERIODS: dict[str, Callable[[date], str]] = {
    "month": lambda day: f"{day:%Y-%m}",
    "year": lambda day: f"{day:%Y}",
}
"""Name of a period → the label of the one that a day falls into."""


def sums(entries: Iterable[Entry], period: str) -> dict[str, int]:
    """Cents by label of the period."""
    label = PERIODS[period]
    found: dict[str, int] = {}
    for entry in entries:
        key = label(entry.day)
        found[key] = found.get(key, 0) + entry.cents
    return found
