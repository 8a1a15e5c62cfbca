"""One run as one HTML file: what happened, what it cost, what it would have cost, what failed, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from harness import __version__
from harness.drawing import graph
from harness.markup import Html, join, tag
from harness.report.diffs import file_diff, files_of
from harness.report.html_cost import money
from harness.report.html_tasks import review, tasks
from harness.report.nextsteps import next_steps
from harness.report.parts import (
    MOODS,
    between,
    code,
    count,
    duration,
    figure,
    legend,
    moment,
    more,
    page,
    pill,
    prose,
    section,
    short,
    table,
    tier_class,
    tier_name,
    usd,
)
from harness.report.savings import Savings
from harness.report.story import story
from harness.report.timeline import most_at_once, timeline
from harness.types import Attempt, Event, Run, TraceLine

_PLAIN = str | int | float


def run_report(run: Run, events: Sequence[Event] = (), diff: str = "", savings: Savings | None = None) -> str:
    """The run's report, complete in itself: no script, no network, light and dark, printable.

    `diff` is the unified diff of the run's work; `savings` its counterfactual. Everything told by issues, models and
    tools is escaped.
    """
    return page(
        f"{run.issue.id}: {run.issue.title} — {run.status}",
        _head(run),
        _figures(run, savings),
        _next(run),
        section("What happened", tag("ul", (tag("li", prose(line)) for line in story(run)), class_="card story")),
        _graph(run),
        section("Timeline", tag("div", timeline(run), class_="card scroll"), lead=_timeline_lead(run)),
        money(run, savings),
        review(run.reviews) if run.reviews else None,
        tasks(run),
        _route(run),
        _diff(diff) if diff else None,
        _happened(events) if events else None,
        _foot(run),
    )


def _head(run: Run) -> Html:
    facts = (
        join(("run ", tag("code", run.id))),
        f"pipeline {run.pipeline.name}",
        join(("base ", tag("code", run.base[:10]), f" of {run.base_branch}" if run.base_branch else ""))
        if run.base
        else None,
        moment(run.started_at),
        between([tag("span", label, class_="pill none") for label in run.issue.labels], " ")
        if run.issue.labels
        else None,
    )
    return tag(
        "header",
        tag("div", tag("b", "harness"), pill(run.status.replace("_", " "), MOODS[run.status]), class_="brand"),
        tag("h1", prose(run.issue.title), " ", tag("span", run.issue.id, class_="quiet", style="font-weight:400")),
        tag("div", (tag("span", fact) for fact in facts if fact), class_="meta"),
        tag("p", "A scripted model answered: no API was called. Costs are what these tokens would have cost.",
            class_="next warn") if run.scripted else None,
    )  # fmt: skip


def _figures(run: Run, savings: Savings | None) -> Html:
    usage = run.usage
    attempts = [attempt for result in (*run.superseded, *run.results) for attempt in result.attempts]
    failed = sum(attempt.outcome != "passed" for attempt in attempts)
    escalated = sum(result.escalated for result in run.results)
    planned = len(run.plan.tasks) if run.plan else 0
    done = sum(result.status == "done" for result in run.results)
    unknown = f"+ {count(usage.unpriced_requests, 'request')} of unknown price" if usage.unpriced_requests else None
    tiles = [figure("Cost", usd(usage.cost_usd), unknown or count(usage.requests, "model call"))]
    if savings:
        tiles.append(_saved(savings))
    troubles = between((f"{failed} failed" if failed else None, f"{escalated} escalated" if escalated else None), ", ")
    tiles += [
        figure("Tasks done", f"{done} of {planned}", between((count(len(attempts), "attempt"), troubles), ", ")),
        figure("Time", duration(_seconds(run)), _busy(attempts)),
        figure("Tokens", short(usage.tokens), f"{usage.cache_share:.0%} of input from cache"),
    ]
    return tag("div", tiles, class_="figures")


def _saved(savings: Savings) -> Html:
    other = savings.baselines[0]
    if other.saved_usd is None or other.cost_usd is None:
        return figure(f"Against all {other.tier}", "unknown", "a price is missing")
    aside = f"all {other.tier} ≈ {usd(other.cost_usd)}, an estimate"
    if other.saved_usd < 0:
        return figure("Routing lost", usd(-other.saved_usd), aside, "bad")
    share = f"{other.saved_share:.0%}" if other.saved_share is not None else usd(other.saved_usd)
    return figure(f"Saved against {other.tier}", share, aside, "good")


def _next(run: Run) -> Html:
    return tag(
        "div",
        tag("h2", "What to do next"),
        tag("ul", (tag("li", step) for step in next_steps(run))),
        class_=f"next {MOODS[run.status]}",
    )


def _graph(run: Run) -> Html | None:
    if not run.plan:
        return None
    live = {} if run.status != "running" else {task.id: "waiting" for task in run.plan.tasks}
    return section(
        "Tasks and their order", tag("div", graph(run, live), class_="card scroll"), lead=prose(run.plan.summary)
    )


def _timeline_lead(run: Run) -> Html:
    tiers = dict.fromkeys(attempt.tier for result in (*run.superseded, *run.results) for attempt in result.attempts)
    return legend([*((tier_class(tier), tier) for tier in tiers), ("", "pale with a red edge: did not pass")])


def _route(run: Run) -> Html:
    route = run.route
    fitting, others = ([line for line in route.trace if line.matched is fits] for fits in (True, False))
    guess = ""
    if route.estimated_cost is not None:
        guess = f" Expected {usd(route.estimated_cost)}"
        guess += f", {usd(route.baseline_cost)} at the baseline tier." if route.baseline_cost is not None else "."
    lead = join(
        ("Rule ", code(route.rule), " chose ", tier_name(route.tier), f": {route.reason}.", guess,
         f" Confidence {route.confidence:.0%}." if route.confidence < 1 else "")
    )  # fmt: skip
    asked = f"{count(len(others), 'rule')} asked that did not apply"
    body = (_trace(fitting) if fitting else None, more(asked, _trace(others)) if others else None)
    card = tag("div", body, class_="card scroll") if route.trace else None
    warnings = [tag("p", warning, class_="next warn") for warning in route.warnings]
    return section("Why this route", card, warnings, lead=lead)


def _trace(lines: Sequence[TraceLine]) -> Html:
    rows = (
        tag("tr", tag("td", "✓" if line.matched else "·"), tag("td", code(line.rule)), tag("td", line.why),
            class_="hit" if line.matched else None)
        for line in lines
    )  # fmt: skip
    return tag("table", tag("tbody", rows), class_="trace")


def _diff(diff: str) -> Html:
    files = files_of(diff)
    added, removed = sum(file.added for file in files), sum(file.removed for file in files)
    lead = f"{count(len(files), 'file')}, {added:,} lines added, {removed:,} removed."
    return section("Changes by file", [file_diff(file, open_=len(files) <= 4) for file in files], lead=lead)


def _happened(events: Sequence[Event]) -> Html:
    shown = [event for event in events if event.kind != "task.turn"][-400:]
    rows = (
        (event.at.strftime("%H:%M:%S"), event.kind, event.task_id or event.phase or "",
         ", ".join(f"{name} {value}" for name, value in event.data.items() if isinstance(value, _PLAIN))[:200])
        for event in shown
    )  # fmt: skip
    return section("Log", more(count(len(shown), "event"), table(("time", "event", "of", ""), rows)))


def _foot(run: Run) -> Html:
    checks = run.integration.checks if run.integration else ()
    told = "; ".join(f"{check.command}: {'passed' if check.ok else f'exit {check.exit_code}'}" for check in checks)
    return tag(
        "footer",
        tag("p", f"The merged tree was verified: {told}.") if told else None,
        tag("p", f"Made {moment(datetime.now(UTC))} by beads-harness {__version__}."),
    )


def _seconds(run: Run) -> float:
    if run.started_at and run.finished_at:
        return (run.finished_at - run.started_at).total_seconds()
    return sum(attempt.seconds for result in run.results for attempt in result.attempts)


def _busy(attempts: Sequence[Attempt]) -> str | None:
    together = most_at_once(attempts)
    at_once = f", up to {together} at once" if together > 1 else ""
    return f"{duration(sum(attempt.seconds for attempt in attempts))} of work{at_once}" if attempts else None
