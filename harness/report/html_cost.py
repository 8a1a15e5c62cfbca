"""The report's section on money and tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from harness.markup import Html, join, tag
from harness.report.parts import legend, more, savings_bars, section, short, table, tier_class, tier_name, usd
from harness.report.savings import Savings
from harness.types import ModelCall, Run, Usage, total


def money(run: Run, savings: Savings | None) -> Html:
    """What was spent, by phase, tier and model, and what one model would have cost."""
    left = tag("div", tag("h3", "By phase and tier"), _phases(run.calls), class_="card")
    right = tag("div", tag("h3", "Tokens by model"), _tokens(run.calls), class_="card scroll")
    both = tag("div", left, right, class_="two")
    if savings is None:
        return section("Cost", both)
    work = defaultdict(Decimal)  # type: dict[str, Decimal]
    for call in run.calls:
        if call.phase not in ("plan", "review"):
            work[call.tier] += call.usage.cost_usd
    told = join(tag("p", sentence[0].upper() + sentence[1:] + ".") for sentence in savings.sentences())
    keys = [*((tier_class(tier), f"work by {tier}") for tier in work), ("", "planning and review")]
    compared = tag(
        "div", legend(keys), savings_bars(savings, list(work.items())), tag("div", told, style="margin-top:14px"),
        more("How this is estimated", tag("ul", (tag("li", line) for line in savings.assumptions))),
        class_="card", style="margin-bottom:20px",
    )  # fmt: skip
    return section("Cost", compared, both)


def _phases(calls: Sequence[ModelCall]) -> Html:
    sums: dict[tuple[str, str], Usage] = defaultdict(Usage)
    for call in calls:
        sums[call.phase, call.tier] += call.usage
    whole = sum((usage.cost_usd for usage in sums.values()), Decimal(0))
    rows = [
        (phase, tier_name(tier), usage.requests, usd(usage.cost_usd), f"{usage.cost_usd / whole:.0%}" if whole else "–")
        for (phase, tier), usage in sums.items()
    ]
    return table(("phase", "tier", "calls", "cost", "share"), rows, frozenset({2, 3, 4}))


def _tokens(calls: Sequence[ModelCall]) -> Html:
    models = dict.fromkeys(call.model for call in calls)
    rows = []
    for model in models:
        own = [call for call in calls if call.model == model]
        usage = total(own)
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        name = tag("span", model.rpartition("/")[2], class_=f"tiername {tier_class(own[0].tier)}", title=model)
        rows.append((name, short(usage.input_tokens), short(usage.cache_read_tokens), short(written),
                     short(usage.output_tokens), f"{usage.cache_share:.0%}"))  # fmt: skip
    heads = ("model", "input", "cache read", "written", "output", "cached")
    return table(heads, rows, frozenset({1, 2, 3, 4, 5}))
