import unittest

from ledger.split import split


class Shares(unittest.TestCase):
    def test_even(self):
        self.assertEqual(split(900, 3), [300, 300, 300])

    def test_nobody_pays_a_cent_more_than_needed(self):
        self.assertLessEqual(max(split(1002, 4)) - min(split(1002, 4)), 1)

    def test_shares_are_whole_cents(self):
        self.assertTrue(all(type(share) is int for share in split(1000, 3)))

    def test_shares_add_up(self):
        for cents in (1000, 1001, 1002, -1000):
            self.assertEqual(sum(split(cents, 3)), cents)
