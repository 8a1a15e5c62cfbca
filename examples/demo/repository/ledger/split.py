"""A bill split between people."""


def split(cents: int, people: int) -> list[int]:
    """One share for each person."""
    return [cents // people] * people
