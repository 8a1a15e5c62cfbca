"""Point estimates with 95 % intervals."""

from __future__ import annotations

from math import sqrt

Z = 1.959964
"""95 %, two-sided."""


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The Wilson score interval of a share; (0, 1) for no observations.

    Unlike the textbook interval it stays inside 0 to 1 and holds for few observations (Wilson 1927).
    """
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z * Z / (2 * n)
    reach = Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    whole = 1 + Z * Z / n
    return max(0.0, (centre - reach) / whole), min(1.0, (centre + reach) / whole)


def ratio(n: int, a: float, b: float, aa: float, bb: float, ab: float) -> tuple[float, float, float]:
    """Σa / Σb with its interval, from sums over n pairs: Σa, Σb, Σa², Σb², Σab (linearised variance).

    Returns (ratio, low, high). b must not sum to zero.
    """
    value = a / b
    if n < 2:
        return value, float("-inf"), float("inf")
    residual = max(0.0, aa - 2 * value * ab + value * value * bb)
    reach = Z * sqrt(n * residual / (n - 1)) / abs(b)
    return value, value - reach, value + reach


def mean_ratio(
    n: float, total: float, squares: float, n_base: float, total_base: float, squares_base: float
) -> tuple[float, float, float]:
    """The ratio of two independent means with its interval (delta method): (ratio, low, high)."""
    mean, base = total / n, total_base / n_base
    variance = max(0.0, squares / n - mean * mean) / n
    variance_base = max(0.0, squares_base / n_base - base * base) / n_base
    value = mean / base
    reach = Z * value * sqrt(variance / mean**2 + variance_base / base**2)
    return value, value - reach, value + reach
