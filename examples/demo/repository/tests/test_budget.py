import unittest


class Budgets(unittest.TestCase):
    def test_over(self):
        from ledger.budget import over

        self.assertEqual(over({"food": -1230, "rent": -800}, {"food": 1000, "rent": 800, "fun": 5}), {"food": 230})

    def test_limits_file(self):
        from ledger.limits import read_limits

        self.assertEqual(read_limits(["# monthly", "food = 10.00", "", "rent=800"]), {"food": 1000, "rent": 80000})
