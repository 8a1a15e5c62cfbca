"""`harness stats --what-learned`: what past outcomes say, key by key, and where routing would begin."""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import Any

from harness.cli.common import put_json, settings_from, show
from harness.config.settings import Settings
from harness.outcomes import Outcomes
from harness.report.intervals import wilson
from harness.routing.evidence import Tally, tally

SHOWN = 40


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    with Outcomes(settings.state, create=False) as store:
        rows = learned(store, settings)
    if arguments.json:
        put_json(rows)
        return 0
    bar = settings.routing.learned.min_outcomes
    if not rows:
        show("Nothing yet: routing learns from runs that have ended, those of a scripted model aside.")
        return 0
    if not settings.routing.learned.enabled:
        show("Learned routing is switched off (routing.learned.enabled).")
    half = settings.routing.learned.half_life_days
    show(f"A key speaks from {bar} outcomes on; older ones fade by half every {half:g} days.")
    show("A key starts from what its parent believes, so one with few outcomes says about what its parent says.", "")
    for row in rows[:SHOWN]:
        show(f"{row['key']}  ({row['outcomes']:.0f} outcomes{'' if row['speaks'] else ', too few to speak'})")
        for tier in row["tiers"]:
            low, high = tier["interval"]
            share = f"solves {tier['chance']:4.0%}  [{low:.0%}, {high:.0%}]"
            show(f"    {tier['tier']:<10} {share}  n={tier['outcomes']:<6.0f} ${tier['cost_usd']:.4f} a task")
    if len(rows) > SHOWN:
        show(f"… and {len(rows) - SHOWN} keys with fewer outcomes (--json shows all)")
    return 0


def learned(store: Outcomes, settings: Settings) -> list[dict[str, Any]]:
    """Each key with its outcomes by tier, the best known first; counts are decayed."""
    sums = store.sums()
    today = max((item.day for item in sums), default=0)
    by: dict[str, dict[str, Tally]] = defaultdict(dict)
    for (key, tier), found in tally(sums, today, settings.routing.learned.half_life_days).items():
        if found.seen > 0:
            by[key][tier] = found
    order = list(settings.tiers)
    rows = []
    for key, tiers in by.items():
        seen = sum(found.seen for found in tiers.values())
        known = sorted(tiers, key=lambda tier: order.index(tier) if tier in order else len(order))
        rows.append({
            "key": key, "outcomes": round(seen, 2), "speaks": seen >= settings.routing.learned.min_outcomes,
            "tiers": [_tier(tier, tiers[tier]) for tier in known],
        })  # fmt: skip
    return sorted(rows, key=lambda row: (-row["outcomes"], row["key"]))


def _tier(tier: str, found: Tally) -> dict[str, Any]:
    solved = found.solved + found.late_solved
    return {
        "tier": tier, "outcomes": round(found.seen, 2), "solved": round(solved, 2),
        "chance": round(solved / found.seen, 4),
        "interval": [round(bound, 4) for bound in wilson(solved, found.seen)],
        "cost_usd": round((found.nusd + found.late_nusd) / found.seen * 1e-9, 6),
    }  # fmt: skip
