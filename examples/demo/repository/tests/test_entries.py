import unittest
from datetime import date

from ledger import entries

LINES = ["2026-01-03, food, -12.30, market", "2026-01-05, rent, -800", "2026-02-01, food, -7.70"]


class Reading(unittest.TestCase):
    def test_balances(self):
        self.assertEqual(entries.balances(entries.read(LINES)), {"food": -2000, "rent": -80000})

    def test_the_remark_is_called_note(self):
        first = entries.read(LINES)[0]
        self.assertEqual((first.day, first.note), (date(2026, 1, 3), "market"))
