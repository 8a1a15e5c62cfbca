"""The report's sections on tasks, their attempts, and the review."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.markup import Html, tag
from harness.report.parts import MOODS, between, code, count, duration, pill, prose, section, tier_name, usd
from harness.types import Attempt, Finding, Review, Run, TaskResult, total

_SEVERITIES = {"critical": "bad", "major": "warn", "minor": "none", "info": "none"}


def review(reviews: Sequence[Review]) -> Html:
    """Verdicts and findings, the worst first."""
    parts: list[object] = []
    for one in reviews:
        mood = {"approve": "good", "revise": "warn", "reject": "bad"}[one.verdict]
        title = f"Round {one.round + 1} " if len(reviews) > 1 else ""
        parts.append(tag("p", title, pill(one.verdict, mood), " ", prose(one.summary)))
        order = list(_SEVERITIES)
        parts += [_finding(finding) for finding in sorted(one.findings, key=lambda f: order.index(f.severity))]
        if not one.findings:
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


def tasks(run: Run) -> Html:
    """Every task with its attempts; what failed is open."""
    results = {result.task_id: result for result in run.results}
    earlier: dict[str, list[TaskResult]] = defaultdict(list)
    for result in run.superseded:
        earlier[result.task_id].append(result)
    cards = [
        _task(task.id, task.title, between([*map(code, task.files)], ", "), results.get(task.id), earlier[task.id])
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
        [(tag("p", code(check.command), f" exit {check.exit_code} after {check.seconds:.1f} s"),
          tag("pre", check.output) if check.output else None) for check in failed],
        tag("p", "passed: ", between(map(code, ok), ", "), class_="quiet") if ok else None,
        tag("pre", attempt.feedback) if attempt.feedback and not failed else None,
        class_=f"attempt {'passed' if passed else 'failed'}",
    )  # fmt: skip
