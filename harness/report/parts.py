"""Pieces that both reports are made of: the page around them, figures, bars, money and time in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from harness import __version__
from harness.markup import STYLE, Html, join, tag
from harness.report.savings import Savings

TIERS = ("haiku", "sonnet", "opus")
MOODS = {
    "done": "good", "failed": "bad", "rejected": "bad", "over_budget": "warn", "interrupted": "warn",
    "cancelled": "none", "running": "busy", "skipped": "none",
}  # fmt: skip
"""A run's or task's end → the colour of its mark."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing may run and nothing may be fetched, whatever text has got into the page."""


def page(title: str, *body: object) -> str:
    """A complete HTML document: one file, no script, no network."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"beads-harness {__version__}"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en")


def section(title: str, *body: object, lead: object = None, id_: str | None = None) -> Html:
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *body, id=id_)


def figure(name: str, value: object, aside: object = None, mood: str = "") -> Html:
    return tag(
        "div",
        tag("div", name, class_="name"),
        tag("div", value, class_=f"value {mood}".rstrip()),
        tag("div", aside, class_="aside") if aside else None,
        class_="figure",
    )


def pill(text: str, mood: str = "none") -> Html:
    return tag("span", text, class_=f"pill {mood}")


def tier_class(tier: str) -> str:
    return tier if tier in TIERS else "tier3"


def tier_name(tier: str) -> Html:
    return tag("span", tier, class_=f"tiername {tier_class(tier)}")


def legend(items: Iterable[tuple[str, str]]) -> Html:
    """(CSS class, words) → a line of coloured dots with words."""
    return tag("div", (tag("span", tag("span", class_=f"dot {name}"), words) for name, words in items), class_="legend")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: frozenset[int] = frozenset()) -> Html:
    """A table; the columns in `right` hold figures."""

    def cell(name: str, index: int, content: object) -> Html:
        return tag(name, content, class_="right" if index in right else None)

    return tag(
        "table",
        tag("thead", tag("tr", (cell("th", index, head) for index, head in enumerate(heads)))),
        tag("tbody", (tag("tr", (cell("td", index, item) for index, item in enumerate(row))) for row in rows)),
    )


Bar = tuple[str, Sequence[tuple[str, Decimal, str]], str, bool]
"""Name; segments (CSS class, amount, tooltip); what stands at its end; whether it is hypothetical."""


def bars(items: Sequence[Bar]) -> Html:
    """Horizontal bars on one scale."""
    sums = [sum((amount for _, amount, _ in segments), Decimal(0)) for _, segments, _, _ in items]
    most = max(sums, default=Decimal(0))
    cells: list[Html] = []
    for name, segments, words, ghost in items:
        track = [
            tag("i", class_=css, title=tip, style=f"width:{amount / most * 100:.2f}%")
            for css, amount, tip in segments
            if amount > 0 and most
        ]
        cells += [
            tag("span", name),
            tag("span", track, class_="track ghost" if ghost else "track"),
            tag("span", words, class_="right"),
        ]
    return tag("div", cells, class_="bars")


def savings_bars(savings: Savings, work: Sequence[tuple[str, Decimal]]) -> Html:
    """The actual cost, split, above what one model would have cost. `work` is execution by tier."""
    spent = [(tier_class(tier), amount, f"{tier}: {usd(amount)}") for tier, amount in work]
    spent.append(("overhead", savings.planning_usd, f"planning {usd(savings.planning_usd)}"))
    spent.append(("overhead", savings.review_usd, f"review {usd(savings.review_usd)}"))
    items: list[Bar] = [("This run", spent, usd(savings.actual_usd), False)]
    for other in savings.baselines:
        if other.cost_usd is None:
            items.append((f"All {other.tier}", [], "price unknown", True))
            continue
        words = f"≈ {usd(other.cost_usd)}"
        items.append((f"All {other.tier}", [(tier_class(other.tier), other.cost_usd, words)], words, True))
    return bars(items)


def spark(values: Sequence[float | None], width: int = 250, height: int = 34) -> Html | None:
    """A trend line; None for fewer than two points."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    scale = (height - 6) / (high - low) if high > low else 0
    step = (width - 8) / (len(values) - 1)
    points = [(4 + index * step, height - 3 - (value - low) * scale) for index, value in known]
    return tag(
        "svg",
        tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), class_="trend"),
        tag("circle", cx=f"{points[-1][0]:.1f}", cy=f"{points[-1][1]:.1f}", r=2.6, fill="var(--sonnet)"),
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", aria_label="trend",
    )  # fmt: skip


def more(summary: str, *body: object) -> Html:
    return tag("details", tag("summary", summary), *body, class_="more")


def prose(text: str) -> Html:
    """Somebody's sentence, with what stands in backticks set as code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return join((text,))
    return join(tag("code", piece) if index % 2 else piece for index, piece in enumerate(pieces))


def usd(amount: Decimal | float) -> str:
    """`$0.0613`, `$4.12`: two more digits where cents would hide it."""
    return f"${amount:,.2f}" if amount >= 1 or amount <= -1 else f"${amount:.4f}"


def duration(seconds: float) -> str:
    """`48 s`, `4 min 12 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") + (f" {at.tzname()}" if at.tzinfo else "") if at else "–"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def code(text: str) -> Html:
    return tag("code", text)


def short(number: int) -> str:
    """`952k`, `1.3M`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 100 * size else f"{number / size:.0f}{unit}"
    return str(number)


def between(parts: Iterable[object], what: object = " · ") -> Html:
    """The parts that are there, with something between them."""
    shown: list[object] = []
    for part in parts:
        if part:
            shown += [what, part] if shown else [part]
    return join(shown)
