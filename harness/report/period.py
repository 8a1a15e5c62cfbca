"""A period as one HTML file: the metrics against their targets, their trends, savings, top failures, the runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from harness import __version__
from harness.markup import Html, join, tag
from harness.outcomes import Outcomes
from harness.records import DAY, RunOutcome, usd
from harness.report import parts
from harness.report.metrics import Metric, Stats, bounds, collect, load_targets
from harness.report.parts import bars, between, count, figure, page, pill, section, spark, table, tier_class, tier_name
from harness.report.savings import ASSUMPTIONS

MOODS = {"met": "good", "missed": "bad", "unclear": "warn", "not enough data": "none"}
_ENDS = {"done": "good", "failed": "bad", "rejected": "bad", "over_budget": "warn", "interrupted": "warn"}
RUNS_SHOWN = 200


def report_of(state: Path, since: int = 0) -> str:
    """`period_report` of the outcomes stored in a folder."""
    with Outcomes(state, create=False) as store:
        return period_report(store, since)


def period_report(store: Outcomes, since: int = 0) -> str:
    """The report of all runs that ended at or after `since` (Unix seconds), complete in itself."""
    stats = collect(store, since)
    runs = [run for run in store.runs(since) if bool(run.scripted) == stats.scripted]
    return page(
        "Outcomes of routing",
        _head(stats),
        _figures(stats),
        section("Metrics against their targets", tag("div", map(_metric, stats.metrics), class_="metrics"),
                lead="Each with its 95 % interval; green is the target. Under 20 observations there is no verdict."),
        _money(stats),
        _failures(store, since, stats.scripted),
        _tiers(stats),
        _runs(runs),
        tag("footer", tag("p", f"Made {parts.moment(datetime.now(UTC))} by beads-harness {__version__}.")),
    )  # fmt: skip


def _head(stats: Stats) -> Html:
    first, last = stats.first_day, stats.last_day
    period = "no outcomes yet" if first is None or last is None else f"{_date(first)} to {_date(last)}"
    scripted = tag(
        "p",
        "A scripted model answered: no API was called, and these figures say nothing of real models.",
        class_="next warn",
    )
    return tag(
        "header",
        tag("div", tag("b", "harness"), class_="brand"),
        tag("h1", "What routing has come to"),
        tag("div", tag("span", period), tag("span", f"{stats.attempts:,} attempts"), class_="meta"),
        scripted if stats.scripted else None,
    )


def _figures(stats: Stats) -> Html:
    money = stats.money
    tiles = [
        figure("Runs", f"{stats.runs:,}", f"{stats.landed:,} landed"),
        figure("Spent", parts.usd(money.actual), between((
            f"planning {parts.usd(money.planning)}", f"review {parts.usd(money.review)}"), ", ")),
    ]  # fmt: skip
    if money.baseline:
        saved = money.baseline - money.comparable_actual
        aside = f"all {money.baseline_tier} ≈ {parts.usd(money.baseline)}, an estimate"
        mood, name = ("good", "Saved") if saved >= 0 else ("bad", "Routing lost")
        tiles.append(figure(name, parts.usd(abs(saved)), aside, mood))
    if stats.cache_share is not None:
        tiles.append(figure("Cached", f"{stats.cache_share:.0%}", "of input tokens"))
    met = sum(metric.verdict == "met" for metric in stats.metrics)
    tiles.append(figure("Targets met", f"{met} of {len(stats.metrics)}"))
    return tag("div", tiles, class_="figures")


def _metric(metric: Metric) -> Html:
    value = "–" if metric.value is None else _shown(metric.value, metric.unit)
    low, high = metric.low, metric.high
    told = f"n = {metric.n:,}, target {metric.target}"
    if low is not None and high is not None:
        told = f"{_shown(low, metric.unit)} to {_shown(high, metric.unit)} · {told}"
    return tag(
        "div",
        tag("div", tag("b", metric.label), pill(metric.verdict, MOODS[metric.verdict]), class_="top"),
        tag("div", value, class_="value"),
        _range(metric),
        tag("small", told),
        spark(metric.trend),
        tag("small", metric.why[0].upper() + metric.why[1:] + "." + (f" {metric.note}." if metric.note else "")),
        class_="card metric",
    )


def _range(metric: Metric) -> Html | None:
    """The interval on a rail with the target's zone."""
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    low, high = bounds(load_targets()[metric.name])
    top = 1.0 if metric.unit == "share" else max(2 * high, 1.1 * metric.value)
    bottom = min(0.0, metric.value)

    def x(value: float) -> float:
        return round(100 * (min(max(value, bottom), top) - bottom) / (top - bottom), 2)

    def strip(start: float, end: float, y: int, height: int, name: str) -> Html:
        width = max(0.6, x(end) - x(start))
        return tag("rect", x=f"{x(start)}%", width=f"{width:g}%", y=y, height=height, rx=3, class_=name)

    return tag(
        "svg", strip(bottom, top, 9, 8, "rail"), strip(low, high, 9, 8, "zone"),
        strip(metric.low, metric.high, 11, 4, "span"),
        tag("circle", cx=f"{x(metric.value)}%", cy=13, r=5, class_="point"),
        class_="range", role="img", aria_label=f"{metric.label}: {_shown(metric.value, metric.unit)}",
    )  # fmt: skip


def _money(stats: Stats) -> Html | None:
    money = stats.money
    if not money.baseline:
        return None
    work = Decimal(str(money.comparable_actual - money.planning - money.review - money.redone))
    beside = Decimal(str(money.planning + money.review + money.redone))
    spent = [
        ("good-work", max(Decimal(0), work), "work that counted"),
        ("overhead", beside, "planning, review, redone"),
    ]
    items: list[parts.Bar] = [("Actual", spent, parts.usd(money.comparable_actual), False)]
    for tier, cost in dict(((money.baseline_tier, money.baseline), (money.strong_tier, money.strong))).items():
        if cost:
            words = f"≈ {parts.usd(cost)}"
            items.append((f"All {tier}", [(tier_class(tier), Decimal(str(cost)), words)], words, True))
    told = []
    if money.losing_runs:
        lost = f"{money.losing_runs} of {count(money.comparable_runs, 'run')}"
        told.append(f"{lost} cost more than all {money.baseline_tier} would have.")
    if money.explored:
        told.append(f"Exploring lost {parts.usd(money.explored)}.")
    if money.unpriced_requests:
        told.append(f"{count(money.unpriced_requests, 'request')} of unknown price are in no figure here.")
    body = tag(
        "div", bars(items), tag("p", " ".join(told), style="margin-top:14px") if told else None,
        parts.more("How this is estimated", tag("ul", (tag("li", line) for line in ASSUMPTIONS))), class_="card",
    )  # fmt: skip
    return section("Savings", body)


def _failures(store: Outcomes, since: int, scripted: bool) -> Html | None:
    rows = store.query(
        """SELECT iif(notes = '', outcome, notes) AS what, count(*) AS times, count(DISTINCT run_id) AS runs,
        group_concat(DISTINCT tier) AS tiers, total(cost_nusd) AS lost, max(run_id) FROM outcomes
        WHERE verified = 0 AND at >= ? AND scripted = ? GROUP BY what ORDER BY times DESC, what LIMIT 12""",
        since,
        int(scripted),
    )
    ends = store.query(
        """SELECT iif(error = '', status, error) AS what, count(*) AS times, max(run_id), status FROM runs
        WHERE landed = 0 AND at >= ? AND scripted = ? GROUP BY what ORDER BY times DESC, what LIMIT 8""",
        since,
        int(scripted),
    )
    if not rows and not ends:
        return None
    attempts = table(
        ("what failed", "times", "runs", "tiers", "spent on it", "latest run"),
        ((tag("code", row[0]), row[1], row[2], between(map(tier_name, sorted(row[3].split(","))), ", "),
          parts.usd(usd(int(row[4]))), tag("code", row[5])) for row in rows), frozenset({1, 2, 4}),
    )  # fmt: skip
    stopped = table(
        ("why a run did not land", "", "times", "latest"),
        (
            (row[0], pill(row[3].replace("_", " "), _ENDS.get(row[3], "none")), row[1], tag("code", row[2]))
            for row in ends
        ),
        frozenset({2}),
    )
    body = [tag("div", stopped, class_="card scroll", style="margin-bottom:20px") if ends else None]
    return section("Top failures", body, tag("div", attempts, class_="card scroll") if rows else None)


def _tiers(stats: Stats) -> Html | None:
    if not stats.tiers:
        return None
    rows = (
        (tier_name(tier), f"{worked:,}", f"{solved / worked:.0%}" if worked else "–", parts.usd(cost))
        for tier, worked, solved, cost in stats.tiers
    )
    body = table(("tier", "tasks worked", "solved there", "cost of a task"), rows, frozenset({1, 2, 3}))
    return section("By tier", tag("div", body, class_="card scroll"))


def _runs(runs: Sequence[RunOutcome]) -> Html | None:
    if not runs:
        return None
    rows = (
        (parts.moment(datetime.fromtimestamp(run.at, UTC)), tag("code", run.run_id),
         pill(run.status.replace("_", " "), _ENDS.get(run.status, "none")), run.tasks,
         parts.duration(run.seconds), parts.usd(usd(run.cost_nusd)), _saved(run))
        for run in runs[:RUNS_SHOWN]
    )  # fmt: skip
    lead = f"The newest {RUNS_SHOWN} of {len(runs):,}." if len(runs) > RUNS_SHOWN else None
    body = table(("ended", "run", "", "tasks", "time", "cost", "saved"), rows, frozenset({3, 4, 5, 6}))
    return section("Runs", tag("div", body, class_="card scroll"), lead=lead)


def _saved(run: RunOutcome) -> object:
    if run.baseline_nusd is None:
        return "unknown"
    saved = usd(run.baseline_nusd - run.cost_nusd)
    return join((f"{saved / usd(run.baseline_nusd):.0%}" if run.baseline_nusd else "–",)) if saved >= 0 else tag(
        "span", f"lost {parts.usd(-saved)}", class_="del"
    )  # fmt: skip


def _shown(value: float, unit: str) -> str:
    return parts.usd(value) if unit == "usd" else f"{value:.1%}"


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
