"""Runs as records: what counts as success, what counts at all, and nothing twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.records import as_dict
from harness.report.experiments import forget, quality, record, records, run_outcome
from harness.types import Finding, Integration, Review, Run
from tests.fakes.runs import make_attempt, make_run

SETTINGS = Settings()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


def of_task(run: Run, task_id: str) -> list[tuple[str, int, int]]:
    return [(r.outcome, r.success, r.counts) for r in records(run, SETTINGS) if r.task_id == task_id]


def test_every_attempt_is_a_record() -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    made = list(records(run, SETTINGS))
    assert len(made) == sum(len(result.attempts) for result in run.results)
    assert len({one.id for one in made}) == len(made)
    assert sum(one.cost_nusd for one in made) > 0
    first = as_dict(made[0])
    wanted = (
        "task_id description tier model_used success cost_usd seconds quality_score notes strategy rule confidence "
        "input_tokens attempt escalated propensity"
    )
    assert set(wanted.split()) <= set(first)


def test_verified_but_not_landed_is_no_success() -> None:
    run = make_run(seed=3, tasks=3, fail_rate=0.0)
    assert of_task(run, "t1") == [("passed", 1, 1)]
    stopped = run.grown(status="cancelled", landing=None)
    assert of_task(stopped, "t1") == [("passed", 0, 0)], "cut short: it says nothing of the model"


def test_a_rejection_counts_against_the_named_task_only() -> None:
    run = make_run(seed=3, tasks=3, fail_rate=0.0, status="rejected")
    blamed = run.plan.tasks[-1].id if run.plan else ""
    assert of_task(run, blamed) == [("passed", 0, 1)]
    assert of_task(run, "t1") == [("passed", 0, 0)]


def test_escalation_is_attributed_to_the_tier_that_failed() -> None:
    run = make_run(seed=3, tasks=1, fail_rate=0.0)
    random_ = random.Random(1)
    rows = [
        make_attempt(random_, "t1", 1, "haiku", "failed"),
        make_attempt(random_, "t1", 2, "haiku", "failed"),
        make_attempt(random_, "t1", 3, "sonnet"),
    ]
    run = run.grown(results=(run.results[0].model_copy(update={"attempts": tuple(rows)}),))
    one, two, three = records(run, SETTINGS)
    assert (one.starts, one.escalates, one.escalated, one.ends) == (1, 1, 0, 0)
    assert (two.starts, two.ends) == (0, 1)
    assert two.stay_nusd == one.cost_nusd + two.cost_nusd
    assert (three.escalated, three.ends, three.success) == (1, 1, 1)


def test_a_conflict_is_nobodys_fault_and_a_broken_merge_is() -> None:
    run = make_run(seed=3, tasks=2, fail_rate=0.0)
    old, new = run.results[0], run.results[0].model_copy(update={"round": 1})
    redone = run.grown(superseded=(old,), results=(new, run.results[1]))
    conflict = redone.grown(integration=Integration(commit="c", conflicts=("t1",)))
    assert of_task(conflict, "t1") == [("passed", 0, 0), ("passed", 1, 1)]
    broken = redone.grown(integration=Integration(commit="c", broken=("t1",)))
    assert of_task(broken, "t1") == [("passed", 0, 1), ("passed", 1, 1)]
    starts = [one.starts for one in records(broken, SETTINGS) if one.task_id == "t1"]
    assert starts == [1, 0], "a redo is no new task"


async def test_rounds_of_the_same_number_are_kept_apart(settings: Settings) -> None:
    run = make_run(seed=3, tasks=2, fail_rate=0.0)
    again = run.grown(superseded=(run.results[0], run.results[0]))
    assert await record(again, settings) == 4
    with Outcomes(settings.state) as store:
        assert sorted(one.round for one in store.latest() if one.task_id == "t1") == [0, 1, 2]


@pytest.mark.parametrize(
    ("verdict", "severities", "expected"),
    [("approve", [], 5.0), ("approve", ["minor"], 4.5), ("revise", ["major"], 3.0), ("reject", ["critical"], 1.0),
     ("reject", [], 2.0), ("revise", ["critical", "critical", "critical"], 1.0)],
)  # fmt: skip
def test_quality_from_the_review(verdict: str, severities: list[str], expected: float) -> None:
    run = make_run(tasks=2)
    findings = tuple(Finding(severity=name, title="x", task_id="t1") for name in severities)  # type: ignore[arg-type]
    review = Review(verdict=verdict, findings=findings)  # type: ignore[arg-type]
    assert quality((review,), run.results[0]) == expected


def test_no_review_no_quality() -> None:
    assert quality((), make_run().results[0]) is None


async def test_recording_again_changes_nothing(settings: Settings) -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    count = await record(run, settings)
    with Outcomes(settings.state) as store:
        before = store.sums()
    assert await record(run, settings) == count
    with Outcomes(settings.state) as store:
        assert store.sums() == before
        assert len(list(store.latest())) == count


async def test_a_resumed_run_replaces_its_records(settings: Settings) -> None:
    run = make_run(seed=3, tasks=6)
    part = run.grown(status="interrupted", results=run.results[:2], landing=None)
    assert await record(part, settings) == sum(len(result.attempts) for result in part.results)
    await record(run, settings)
    with Outcomes(settings.state) as store:
        made = list(store.latest())
        assert {one.landed for one in made if one.verified} == {1}
        assert sum(item.attempts for item in store.sums(["*"])) == len(made)
        assert [one.status for one in store.runs()] == ["done"]


async def test_forgotten_is_gone_from_rows_and_sums(settings: Settings) -> None:
    kept, gone = make_run(seed=1), make_run(seed=2, title="Rotate the zebra key")
    await record(kept, settings)
    with Outcomes(settings.state) as store:
        before = store.sums()
    count = await record(gone, settings)
    assert forget(gone.id, settings.state) == count
    with Outcomes(settings.state) as store:
        assert store.sums() == before
        assert {one.run_id for one in store.latest()} == {kept.id}
    stored = b"".join(path.read_bytes() for path in settings.state.glob("outcomes.db*"))
    assert b"zebra" not in stored, "deleted rows are overwritten"


def test_forgetting_where_nothing_is_makes_no_file(tmp_path: Path) -> None:
    assert forget("r-1", tmp_path) == 0
    assert not list(tmp_path.iterdir())


async def test_without_content_no_text_is_stored(tmp_path: Path) -> None:
    quiet = Settings(root=tmp_path, content=False)
    await record(make_run(seed=5, status="failed", title="Hush hush quokka"), quiet)
    stored = b"".join(path.read_bytes() for path in quiet.state.glob("outcomes.db*"))
    for word in (b"quokka", b"hush", b"pytest", b"ExpiringCache", b"failed on every tier"):
        assert word not in stored


async def test_secrets_are_redacted(settings: Settings) -> None:
    key = "sk-ant-api03-" + "a1B2" * 8
    run = make_run(seed=2, tasks=1, title=f"Use {key}").grown(error=f"it said {key}", status="failed", plan=None)
    await record(run, settings)
    stored = b"".join(path.read_bytes() for path in settings.state.glob("outcomes.db*"))
    assert key.encode() not in stored
    assert b"[redacted]" in stored


def test_the_runs_money_is_the_runs_money() -> None:
    run = make_run(seed=3, tasks=8)
    outcome = run_outcome(run, SETTINGS)
    assert outcome.cost_nusd == int(run.usage.cost_usd * 1_000_000_000)
    assert outcome.baseline_tier == "sonnet" and outcome.strong_tier == "opus"
    assert outcome.baseline_nusd is not None and outcome.strong_nusd is not None
    assert outcome.baseline_nusd < outcome.strong_nusd


def test_exploring_costs_what_it_lost() -> None:
    run = make_run(seed=5, status="failed", rule="learned/explore/default", strategy="learned")
    lost = run_outcome(run, SETTINGS).explored_nusd
    wasted = sum(
        call.usage.cost_usd
        for result in run.results
        if result.escalated
        for call in result.calls
        if call.tier == "haiku"
    )
    assert lost == int(wasted * 1_000_000_000) > 0
    assert run_outcome(make_run(seed=5, status="failed"), SETTINGS).explored_nusd == 0


async def test_without_content_an_ended_run_leaves_its_figures_alone(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, content=False)
    run = make_run(seed=5, status="failed", title="LLAMA in the title")
    journal = SqliteJournal(settings.state / "journal.db")
    await journal.save(run)
    await journal.step(run.id, "execute/t1/attempt-1/turn-1/reply", str, _said)
    for status in ("interrupted", "failed"):
        await record(run.grown(status=status), settings)
        kept = await journal.keys(run.id)
        assert bool(kept) == (status == "interrupted"), "what can still go on keeps what it needs"
    left = await journal.load(run.id)
    await journal.aclose()
    assert left is not None and left.usage == run.usage and left.results[0].status == run.results[0].status
    stored = b"".join(path.read_bytes() for path in settings.state.rglob("*") if path.is_file())
    for words in ("LLAMA", "OCELOT", "Lookups go to the server", "passed in"):
        assert words.encode() not in stored, words


async def _said() -> str:
    return "OCELOT in a reply"
