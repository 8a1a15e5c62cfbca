"""Entries of the ledger, read from CSV: day, account, amount, remark."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from ledger import money


@dataclass(frozen=True)
class Entry:
    day: date
    account: str
    cents: int
    memo: str = ""


def read(lines: Iterable[str]) -> list[Entry]:
    """The entries of a CSV file without a heading."""
    found = []
    for row in csv.reader(lines):
        day, account, amount, *rest = (cell.strip() for cell in row)
        found.append(Entry(date.fromisoformat(day), account, money.parse(amount), memo=rest[0] if rest else ""))
    return found


def balances(entries: Iterable[Entry]) -> dict[str, int]:
    """Cents by account, in the order in which the accounts first appear."""
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.account] = sums.get(entry.account, 0) + entry.cents
    return sums
