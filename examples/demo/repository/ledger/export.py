"""Tables for spreadsheets."""

import csv
import io
from collections.abc import Iterable

from ledger import money
from ledger.entries import Entry


def to_csv(entries: Iterable[Entry]) -> str:
    """The entries as CSV: day, account, amount, remark."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for entry in entries:
        writer.writerow([entry.day.isoformat(), entry.account, money.show(entry.cents), entry.memo])
    return out.getvalue()
