import unittest
from datetime import date

from ledger import report
from ledger.entries import Entry

ENTRIES = [Entry(date(2026, 1, 3), "food", -1230), Entry(date(2026, 1, 4), "rent", -80000)]


class Tables(unittest.TestCase):
    def test_table(self):
        self.assertEqual(report.table(ENTRIES), "food      -12.30\nrent     -800.00")

    def test_overspent_accounts_are_marked(self):
        told = report.table(ENTRIES, limits={"food": 1000, "rent": 80000})
        self.assertEqual(told, "food      -12.30  over by 2.30\nrent     -800.00")
