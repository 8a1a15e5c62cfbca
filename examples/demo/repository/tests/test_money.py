import unittest

from ledger import money


class Amounts(unittest.TestCase):
    def test_parse(self):
        self.assertEqual([money.parse(text) for text in ("12.3", "-0.05", "7")], [1230, -5, 700])

    def test_parse_refuses_a_third_decimal(self):
        with self.assertRaises(ValueError):
            money.parse("1.005")

    def test_text(self):
        self.assertEqual([money.text(cents) for cents in (1230, -5, 0)], ["12.30", "-0.05", "0.00"])
