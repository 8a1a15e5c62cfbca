"""Run → experiment records: every attempt at every task, with what it was asked, what it cost and how it ended."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread

from harness.config.settings import Settings
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.records import Outcome, RunOutcome, nano, outcome_id
from harness.redact import redact
from harness.report.savings import run_savings
from harness.routing.evidence import keys_of
from harness.routing.in_flight import EXPLORING
from harness.types import UNFINISHED, Attempt, Review, Run, TaskResult, total

STRATEGY = "experiment"
"""The strategy of runs made by `harness experiments run`: their tier was forced, so they say nothing of routing."""
_SEVERITY = {"critical": 2.0, "major": 1.0, "minor": 0.5, "info": 0.0}
_VERDICT = {"approve": 5.0, "revise": 4.0, "reject": 2.0}


async def record(run: Run, settings: Settings) -> int:
    """Store a record of every attempt of the run in `settings.state`; returns how many.

    Call it whenever a run ends, however it ends, and again after a resume: a run's earlier records are replaced, so
    nothing is counted twice. Texts are redacted; with `settings.content` false none is stored, and those that the
    journal needed while the run could still go on are deleted.
    """
    outcomes = list(records(run, settings))
    summary = run_outcome(run, settings)
    await anyio.to_thread.run_sync(_store, settings.state, summary, outcomes)
    if not settings.content and run.status not in UNFINISHED:
        await _keep_figures_only(run, settings.state)
    return len(outcomes)


async def _keep_figures_only(run: Run, state: Path) -> None:
    journal = SqliteJournal(state / "journal.db")
    try:
        await journal.reduce(without_texts(run))
    finally:
        await journal.aclose()
    await anyio.to_thread.run_sync(shutil.rmtree, state / "runs" / run.id, True)


TEXTS = frozenset({"title", "body", "summary", "instructions", "detail", "output", "feedback", "why", "reason", "error",
                   "hint", "note", "notes", "metadata", "trace"})  # fmt: skip
"""Fields of a run and of what is in it that people, models and tools have written."""


def without_texts(run: Run) -> Run:
    """The run with its figures, states, names and files, and nothing that was said in it."""
    return Run.model_validate(_blank(run.model_dump(mode="json")))


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _emptied(inner) if name in TEXTS else _blank(inner) for name, inner in value.items()}
    return [_blank(inner) for inner in value] if isinstance(value, list) else value


def _emptied(value: Any) -> Any:
    return None if value is None else type(value)()


def forget(run_id: str, state: Path) -> int:
    """Delete all records of a run; returns how many there were."""
    with Outcomes(state, create=False) as store:
        return store.forget(run_id)


def records(run: Run, settings: Settings) -> Iterator[Outcome]:
    """The run's attempts as records, in the order in which they were made."""
    rounds: Counter[str] = Counter()
    before: dict[str, list[Attempt]] = defaultdict(list)
    for superseded, results in ((True, run.superseded), (False, run.results)):
        for result in results:
            # Counted here: a round's own number may stand twice where both a conflict and a review had it redone.
            told = _Told(run, settings, result, superseded, rounds[result.task_id])
            for index in range(len(result.attempts)):
                yield _record(told, index, before[result.task_id])
                before[result.task_id].append(result.attempts[index])
            rounds[result.task_id] += bool(result.attempts)


def run_outcome(run: Run, settings: Settings) -> RunOutcome:
    """The run's money and end."""
    savings = run_savings(run, settings)
    base, strong = savings.baselines[0], savings.baselines[-1]
    usage = run.usage
    return RunOutcome(
        run_id=run.id,
        issue_id=run.issue.id,
        at=_unix(run.finished_at or run.started_at),
        status=run.status,
        landed=int(run.accepted),
        scripted=int(run.scripted),
        experiment=int(run.route.strategy == STRATEGY),
        tasks=sum(1 for result in run.results if result.attempts),
        cost_nusd=nano(savings.actual_usd),
        planning_nusd=nano(savings.planning_usd),
        review_nusd=nano(savings.review_usd),
        redone_nusd=nano(savings.redone_usd),
        unpriced=savings.unpriced_requests,
        baseline_tier=base.tier,
        baseline_nusd=None if base.cost_usd is None or savings.unpriced_requests else nano(base.cost_usd),
        strong_tier=strong.tier,
        strong_nusd=None if strong.cost_usd is None or savings.unpriced_requests else nano(strong.cost_usd),
        seconds=(run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else 0.0,
        total_input=usage.total_input,
        cache_read=usage.cache_read_tokens,
        explored_nusd=_explored(run),
        error=redact(run.error or "").split("\n")[0][:300] if settings.content else "",
    )


def _store(state: Path, run: RunOutcome, outcomes: list[Outcome]) -> None:
    with Outcomes(state) as store:
        store.put(run, outcomes)


@dataclass(frozen=True)
class _Told:
    """One round of one task in its run."""

    run: Run
    settings: Settings
    result: TaskResult
    superseded: bool
    round: int


def _record(told: _Told, index: int, before: Sequence[Attempt]) -> Outcome:
    run, settings, result = told.run, told.settings, told.result
    attempt = result.attempts[index]
    usage = total(attempt.calls)
    tiers = list(settings.tiers)
    after = result.attempts[index + 1 :]
    ends = not after or after[0].tier != attempt.tier
    stay = [other for other in result.attempts[: index + 1] if other.tier == attempt.tier]
    verified = attempt.outcome == "passed"
    success = verified and run.accepted and not told.superseded and result.status == "done"
    # An experiment's tier was forced: it is evidence on the tier, but says nothing of how work was routed.
    forced = run.route.strategy == STRATEGY
    starts = not before and not forced
    return Outcome(
        id=outcome_id(run.id, result.task_id, told.round, index + 1),
        run_id=run.id,
        issue_id=run.issue.id,
        task_id=result.task_id,
        round=told.round,
        attempt=index + 1,
        at=_unix(attempt.started_at or run.finished_at or run.started_at),
        tier=attempt.tier,
        rank=tiers.index(attempt.tier) if attempt.tier in tiers else len(tiers),
        model=attempt.model,
        strategy=run.route.strategy,
        rule=run.route.rule,
        confidence=run.route.confidence,
        propensity=run.route.propensity,
        outcome=attempt.outcome,
        verified=int(verified),
        landed=int(success and run.landing is not None),
        success=int(success),
        counts=int(_counts(told, attempt, success)),
        starts=int(starts),
        escalates=int(starts and any(other.tier != attempt.tier for other in _all(run, result.task_id))),
        escalated=int(any(other.tier != attempt.tier for other in before)),
        ends=int(ends),
        stay_nusd=nano(total([call for other in stay for call in other.calls]).cost_usd) if ends else 0,
        cost_nusd=nano(usage.cost_usd),
        unpriced=usage.unpriced_requests,
        seconds=attempt.seconds,
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        quality=quality(run.reviews, result, told.superseded) if verified and not after else None,
        scripted=int(run.scripted),
        experiment=int(forced),
        keys=keys_of(run.issue, run.route.rule, words=settings.content),
        description=redact(_title(run, result.task_id)) if settings.content else "",
        notes=redact(_notes(attempt))[:500] if settings.content else "",
    )


def quality(reviews: tuple[Review, ...], result: TaskResult, superseded: bool = False) -> float | None:
    """A task's work on the scale of 1 to 5, from the review that judged it; None when none did.

    approve 5, revise 4, reject 2, less 2 for each critical finding that names the task, 1 for a major and ½ for a
    minor one.
    """
    if not reviews:
        return None
    judged = reviews[-1]
    if superseded:
        named = [review for review in reviews if any(finding.task_id == result.task_id for finding in review.findings)]
        if not named:
            return None
        judged = named[min(result.round, len(named) - 1)]
    own = [finding for finding in judged.findings if finding.task_id == result.task_id and not finding.out_of_scope]
    return max(1.0, min(5.0, _VERDICT[judged.verdict] - sum(_SEVERITY[finding.severity] for finding in own)))


def _counts(told: _Told, attempt: Attempt, success: bool) -> bool:
    """Whether the attempt's end says something of its model."""
    if attempt.outcome == "budget":
        return False
    if attempt.outcome != "passed" or success:
        return True
    run = told.run
    if told.superseded:
        # A textual conflict is the plan's fault; a broken merge or a reviewer's demand is the work's.
        return run.integration is None or told.result.task_id not in run.integration.conflicts
    last = run.reviews[-1] if run.reviews else None
    if run.status != "rejected" or last is None:
        return False
    named = {finding.task_id for finding in last.findings} - {None}
    return told.result.task_id in named or not named


def _all(run: Run, task_id: str) -> list[Attempt]:
    return [
        attempt
        for result in (*run.superseded, *run.results)
        if result.task_id == task_id
        for attempt in result.attempts
    ]


def _title(run: Run, task_id: str) -> str:
    tasks = run.plan.tasks if run.plan else ()
    return next((task.title for task in tasks if task.id == task_id), run.issue.title)


def _notes(attempt: Attempt) -> str:
    failed = next((check for check in attempt.checks if not check.ok), None)
    if failed is not None:
        return f"{failed.command}: exit {failed.exit_code}"
    return "" if attempt.outcome == "passed" else attempt.summary.split("\n")[0]


def _explored(run: Run) -> int:
    """What exploring lost: the attempts of a tier chosen to learn from, where a stronger one had to do the work."""
    if not run.route.rule.startswith(EXPLORING):
        return 0
    lost = [
        call
        for result in (*run.superseded, *run.results)
        if result.escalated
        for call in result.calls
        if call.tier == run.route.tier
    ]
    return nano(total(lost).cost_usd)


def _unix(moment: datetime | None) -> int:
    return int((moment or datetime.now(UTC)).timestamp())
