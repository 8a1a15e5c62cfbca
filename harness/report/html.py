"""One run as one HTML file: what happened, what it cost, what it would have cost, what failed, what to do next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from harness import __version__
from harness.drawing import graph
from harness.markup import Html, join, tag
from harness.report.diffs import file_diff, files_of
from harness.report.nextsteps import next_steps
from harness.report.parts import (
    between,
    count,
    duration,
    figure,
    legend,
    moment,
    more,
    page,
    pill,
    prose,
    savings_bars,
    section,
    table,
    tier_class,
    tier_name,
    usd,
)
from harness.report.savings import Savings
from harness.report.timeline import most_at_once, timeline
from harness.types import Attempt, Event, Finding, ModelCall, Review, Run, TaskResult, Usage, total

MOODS = {
    "done": "good", "failed": "bad", "rejected": "bad", "over_budget": "warn", "interrupted": "warn",
    "cancelled": "none", "running": "busy", "skipped": "none",
}  # fmt: skip
_PLAIN = str | int | float
_SEVERITIES = {"critical": "bad", "major": "warn", "minor": "none", "info": "none"}


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
        _graph(run),
        section("Timeline", tag("div", timeline(run), class_="card scroll"), lead=_timeline_lead(run)),
        _money(run, savings),
        _review(run.reviews) if run.reviews else None,
        _tasks(run),
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
        figure("Tokens", _short(usage.tokens), f"{usage.cache_share:.0%} of input from cache"),
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


def _money(run: Run, savings: Savings | None) -> Html:
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
        rows.append((name, _short(usage.input_tokens), _short(usage.cache_read_tokens), _short(written),
                     _short(usage.output_tokens), f"{usage.cache_share:.0%}"))  # fmt: skip
    heads = ("model", "input", "cache read", "written", "output", "cached")
    return table(heads, rows, frozenset({1, 2, 3, 4, 5}))


def _review(reviews: Sequence[Review]) -> Html:
    parts: list[object] = []
    for review in reviews:
        mood = {"approve": "good", "revise": "warn", "reject": "bad"}[review.verdict]
        title = f"Round {review.round + 1} " if len(reviews) > 1 else ""
        parts.append(tag("p", title, pill(review.verdict, mood), " ", prose(review.summary)))
        order = list(_SEVERITIES)
        parts += [_finding(finding) for finding in sorted(review.findings, key=lambda f: order.index(f.severity))]
        if not review.findings:
            parts.append(tag("p", "No findings.", class_="quiet"))
    return section("Review", tag("div", parts, class_="card"), id_="review")


def _finding(finding: Finding) -> Html:
    place = finding.path and finding.path + (f":{finding.line}" if finding.line else "")
    about = between(
        (
            tag("code", place) if place else None,
            tag("a", f"task {finding.task_id}", href=f"#task-{finding.task_id}") if finding.task_id else None,
            "outside this issue" if finding.out_of_scope else None,
        )
    )
    return tag(
        "div", pill(finding.severity, _SEVERITIES[finding.severity]),
        tag("div", tag("b", prose(finding.title)), tag("p", prose(finding.detail)) if finding.detail else None,
            tag("p", about, class_="quiet") if about else None),
        class_="finding",
    )  # fmt: skip


def _tasks(run: Run) -> Html:
    results = {result.task_id: result for result in run.results}
    earlier: dict[str, list[TaskResult]] = defaultdict(list)
    for result in run.superseded:
        earlier[result.task_id].append(result)
    cards = [
        _task(task.id, task.title, between([*map(_code, task.files)], ", "), results.get(task.id), earlier[task.id])
        for task in run.plan.tasks
    ] if run.plan else []  # fmt: skip
    lead = "Every attempt, with what verification said. A failed one's output was the next one's feedback."
    return section("Tasks", cards or tag("p", "No task yet.", class_="quiet"), lead=lead if cards else None)


def _task(task_id: str, title: str, files: Html, result: TaskResult | None, earlier: Sequence[TaskResult]) -> Html:
    status = result.status if result else "waiting"
    attempts = [attempt for one in (*earlier, *([result] if result else [])) for attempt in one.attempts]
    spent = total([call for attempt in attempts for call in attempt.calls]).cost_usd
    tiers = between([tier_name(tier) for tier in dict.fromkeys(attempt.tier for attempt in attempts)], " → ")
    tries = count(len(attempts), "attempt") if attempts else ""
    side = tag("span", between((tiers, tries, usd(spent) if attempts else None)), class_="side")
    head = tag(
        "summary", tag("span", task_id, class_="id"), tag("span", prose(title), class_="grow"), side,
        pill(status, MOODS.get(status, "none")),
    )  # fmt: skip
    shown: list[object] = [tag("p", files, class_="quiet") if files else None]
    for one in earlier:
        shown.append(tag("p", f"Round {one.round + 1}, redone later:", class_="quiet"))
        shown += map(_attempt, one.attempts)
    shown += map(_attempt, result.attempts) if result else []
    if result and result.error:
        shown.append(tag("p", tag("b", "Failed: "), result.error))
    if result and result.commit:
        shown.append(tag("p", "commit ", tag("code", result.commit[:10]), class_="quiet"))
    return tag("details", head, tag("div", shown), class_="task", id=f"task-{task_id}", open=status == "failed")


def _attempt(attempt: Attempt) -> Html:
    spent = total(attempt.calls)
    passed = attempt.outcome == "passed"
    facts = between(
        (tier_name(attempt.tier), attempt.outcome.replace("_", " "), duration(attempt.seconds),
         count(spent.requests, "call"), usd(spent.cost_usd), attempt.worker)
    )  # fmt: skip
    failed = [check for check in attempt.checks if not check.ok]
    ok = [check.command for check in attempt.checks if check.ok]
    return tag(
        "div",
        tag("p", tag("b", f"Attempt {attempt.number}"), " · ", facts),
        tag("p", prose(attempt.summary)) if attempt.summary else None,
        [(tag("p", _code(check.command), f" exit {check.exit_code} after {check.seconds:.1f} s"),
          tag("pre", check.output) if check.output else None) for check in failed],
        tag("p", "passed: ", between(map(_code, ok), ", "), class_="quiet") if ok else None,
        tag("pre", attempt.feedback) if attempt.feedback and not failed else None,
        class_=f"attempt {'passed' if passed else 'failed'}",
    )  # fmt: skip


def _route(run: Run) -> Html:
    route = run.route
    rows = [
        tag("tr", tag("td", "✓" if line.matched else "·"), tag("td", _code(line.rule)), tag("td", line.why),
            class_="hit" if line.matched else None)
        for line in route.trace
    ]  # fmt: skip
    guess = ""
    if route.estimated_cost is not None:
        guess = f" Expected {usd(route.estimated_cost)}"
        guess += f", {usd(route.baseline_cost)} at the baseline tier." if route.baseline_cost is not None else "."
    lead = join(
        ("Rule ", _code(route.rule), " chose ", tier_name(route.tier), f": {route.reason}.", guess,
         f" Confidence {route.confidence:.0%}." if route.confidence < 1 else "")
    )  # fmt: skip
    body = tag("table", tag("tbody", rows), class_="trace") if rows else None
    warnings = [tag("p", warning, class_="next warn") for warning in route.warnings]
    return section("Why this route", tag("div", body, class_="card scroll") if body else None, warnings, lead=lead)


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


def _code(text: str) -> Html:
    return tag("code", text)


def _seconds(run: Run) -> float:
    if run.started_at and run.finished_at:
        return (run.finished_at - run.started_at).total_seconds()
    return sum(attempt.seconds for result in run.results for attempt in result.attempts)


def _busy(attempts: Sequence[Attempt]) -> str | None:
    together = most_at_once(attempts)
    at_once = f", up to {together} at once" if together > 1 else ""
    return f"{duration(sum(attempt.seconds for attempt in attempts))} of work{at_once}" if attempts else None


def _short(number: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 100 * size else f"{number / size:.0f}{unit}"
    return str(number)
