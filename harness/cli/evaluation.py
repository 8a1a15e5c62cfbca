"""An offline evaluation in lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.evaluate import Evaluation


def told(found: Evaluation) -> Iterator[str]:
    """The table, the two regrets, and the cost–quality curve at eleven points."""
    yield f"{found.rows:,} rows"
    yield ""
    yield f"  {'policy':<20} {'net value of a row':>20}"
    for name, value in found.values.items():
        yield f"  {name:<20} {value:20.4f}"
    yield ""
    better = "better than" if found.regret_fixed < 0 else "behind"
    yield f"  learned is {abs(found.regret_fixed):.4f} {better} the best fixed tier"
    yield f"  and {found.regret_oracle:.4f} behind the oracle by row"
    yield ""
    yield f"  {'to strong':>9} {'cost':>7} {'quality':>8}"
    for point in found.curve[:: max(1, len(found.curve) // 10)]:
        bar = "█" * round(28 * point.quality)
        yield f"  {point.strong_share:9.0%} {point.cost:7.0%} {point.quality:8.3f}  {bar}"
    yield ""
    if found.cost_at_95 is None:
        yield "  95 % of the strong tier's quality is never reached"
    else:
        quality = f"95 % of the strong tier's quality ({found.strong_quality:.3f})"
        yield f"  {quality} costs {found.cost_at_95:.0%} of its price"
    yield f"  area under cost and quality {found.area:.4f}; by lot it would be {found.area_random:.4f}"
