"""A household ledger. Amounts are whole cents throughout."""
