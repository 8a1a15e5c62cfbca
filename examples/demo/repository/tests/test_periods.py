import unittest
from datetime import date

from ledger.entries import Entry
from ledger.periods import sums

ENTRIES = [
    Entry(date(2026, 1, 3), "food", -100),
    Entry(date(2026, 2, 3), "food", -200),
    Entry(date(2026, 4, 3), "food", -400),
]


class Periods(unittest.TestCase):
    def test_year(self):
        self.assertEqual(sums(ENTRIES, "year"), {"2026": -700})

    def test_week(self):
        self.assertEqual(sums(ENTRIES, "week"), {"2026-W01": -100, "2026-W06": -200, "2026-W14": -400})

    def test_quarter(self):
        self.assertEqual(sums(ENTRIES, "quarter"), {"2026-Q1": -300, "2026-Q2": -400})
