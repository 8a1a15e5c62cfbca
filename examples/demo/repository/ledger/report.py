"""Tables for people."""

from collections.abc import Iterable

from ledger import money
from ledger.entries import Entry, balances


def table(entries: Iterable[Entry]) -> str:
    """One line an account: its name and its balance."""
    rows = balances(entries)
    width = max(map(len, rows), default=0)
    return "\n".join(f"{account:<{width}}  {money.show(cents):>10}" for account, cents in rows.items())
