import unittest
from datetime import date

from ledger.entries import Entry
from ledger.export import to_csv


class Export(unittest.TestCase):
    def test_a_plain_entry(self):
        self.assertEqual(to_csv([Entry(date(2026, 1, 3), "food", -1230, "market")]), "2026-01-03,food,-12.30,market\n")

    def test_a_remark_is_no_formula(self):
        line = to_csv([Entry(date(2026, 1, 3), "food", 100, "=1+1")])
        self.assertEqual(line, "2026-01-03,food,1.00,'=1+1\n")
