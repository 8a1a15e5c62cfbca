import unittest
from datetime import date

from ledger.entries import Entry


class Statements(unittest.TestCase):
    def test_running_balance(self):
        from ledger.statement import statement

        entries = [Entry(date(2026, 1, 3), "food", -100), Entry(date(2026, 1, 9), "food", 250)]
        self.assertEqual(statement(entries, "food"), "2026-01-03      -1.00\n2026-01-09       1.50")
