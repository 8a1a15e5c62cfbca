"""The queue on real git and a real issue file, with a scripted model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from harness import registry
from harness.allowance import Allowance, Limits
from harness.claims import Claims, is_dead, queue_lock
from harness.clock import Clock
from harness.config.settings import Settings
from harness.engine import Wishes
from harness.errors import HarnessError, JournalError, ModelAuthError, TrackerError
from harness.protocols import Tracker, Wanted
from harness.queue import Queue, QueueReport, work_queue
from harness.stop import Stop
from harness.taking import STUCK, refuse_keyless, take_issue
from harness.types import Budget, Event, Run
from harness.watch import Watch
from tests.fakes.places import fails, git, issues, place, refuses, row, told, writes

DEAD = "harness@gone:1-abcd"


NOON = datetime(2099, 3, 4, 12, tzinfo=UTC)
"""Later than any run: what was begun on the day before is not of today."""
DAY = 86_400.0


class Fast(Clock):
    """A clock that sleeps at once and remembers how long; it starts at noon."""

    def __init__(self) -> None:
        self.time = 1000.0

    def seconds(self) -> float:
        return self.time

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.time - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await anyio.lowlevel.checkpoint()


async def worked(
    settings: Settings, wanted: Wanted | None = None, limits: Limits | None = None, **more: Any
) -> QueueReport:
    stop = more.pop("stop", None) or Stop(settings.state)
    allowance = Allowance(limits, more.pop("clock", None))
    listeners = more.pop("listeners", ())
    async with registry.build(settings, listeners, stop.gate) as deps:
        load = partial(registry.pipeline, settings=settings)
        return await work_queue(deps, load, wanted=wanted, allowance=allowance, stop=stop, **more)


def order(report: QueueReport) -> list[str]:
    return [run["issue"] for run in report.runs]


async def test_the_urgent_and_the_old_come_first_and_landed_work_is_not_taken_again(tmp_path: Path) -> None:
    rows = [
        row("c", priority=1, created_at="2026-01-02T00:00:00Z"),
        row("b", priority=1),
        row("d"),
        row("a", priority=0, created_at="2026-01-09T00:00:00Z"),
    ]
    settings = place(tmp_path / "repo", rows, [writes(one) for one in "abcd"])
    report = await worked(settings, limits=Limits(parallel=1))
    assert order(report) == ["a", "b", "c", "d"]
    assert (report.taken, report.done, report.exit_code, report.stopped) == (4, 4, 0, None)
    assert report.usd > 0
    assert git(settings.root, "show", "harness/a:a.txt") == "done\n"
    assert told(settings.root, "a")["status"] == "in_progress", "a branch is not landed until somebody merges it"
    again = await worked(settings)
    assert (again.taken, again.exit_code) == (0, 0)


async def test_a_blocked_issue_waits_until_its_blocker_has_landed(tmp_path: Path) -> None:
    blocked = [{"issue_id": "b", "depends_on_id": "a", "type": "blocks"}]
    rows = [row("b", priority=0, dependencies=blocked), row("a", priority=3)]
    merging = place(tmp_path / "merging", rows, [writes("a"), writes("b")], land="merge")
    assert order(await worked(merging)) == ["a", "b"]
    assert git(merging.root, "show", "main:b.txt") == "done\n"
    branching = place(tmp_path / "branching", rows, [writes("a"), writes("b")])
    assert order(await worked(branching)) == ["a"], "its branch is not merged"


async def test_issues_that_land_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(8)]
    settings = place(tmp_path / "repo", [row(one) for one in names], [writes(one) for one in names], land="merge")
    report = await worked(settings, limits=Limits(parallel=4))
    assert (report.done, report.failed) == (8, 0), [run["error"] for run in report.runs]
    assert git(settings.root, "ls-files", "*.txt").split() == [f"{one}.txt" for one in names]
    assert {told(settings.root, one)["status"] for one in names} == {"closed"}


async def test_filters_and_the_number_of_issues_bound_what_is_taken(tmp_path: Path) -> None:
    rows = [row("a", labels=["go"]), row("b"), row("c", labels=["go"], issue_type="bug"), row("d", labels=["go"])]
    settings = place(tmp_path / "repo", rows, [writes(one) for one in "abcd"])
    assert order(await worked(settings, Wanted(labels=("go",), types=("bug",)))) == ["c"]
    assert order(await worked(settings, Wanted(labels=("go",)), Limits(max_issues=1, parallel=3))) == ["a"]


async def test_an_epic_waits_for_its_children_and_they_for_it(tmp_path: Path) -> None:
    rows = [row("e", issue_type="epic", priority=0, labels=["pipeline:single"]), row("k", parent="e")]
    settings = place(tmp_path / "repo", rows, [writes("e"), writes("k")])
    async with registry.build(settings) as deps:
        queue = Queue(deps, partial(registry.pipeline, settings=settings))
        assert [issue.id for issue in await queue.candidates()] == ["k"]
    under_way: list[set[str]] = []
    now: set[str] = set()

    def listen(event: Event) -> None:
        if event.kind == "run.started":
            now.add(str(event.issue_id))
            under_way.append(set(now))
        elif event.kind == "run.finished":
            now.discard(str(event.issue_id))

    asked = Wanted(types=("epic", "task"))
    report = await worked(settings, asked, Limits(parallel=2), listeners=[listen])
    assert report.done == 2 and under_way == [{"e"}, {"k"}]


async def test_a_failure_is_told_and_after_the_last_attempt_left_alone(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [fails("a"), writes("b")])
    first = await worked(settings)
    assert (first.done, first.failed, first.exit_code) == (1, 1, 1)
    issue = told(settings.root, "a")
    assert issue["status"] == "open" and not issue.get("assignee") and issue["labels"] == ["harness:failed"]
    assert "attempt 1 of 2" in issue["comments"][-1]["text"] and "harness show a-r1" in issue["comments"][-1]["text"]
    assert (await worked(settings)).failed == 1
    assert STUCK in told(settings.root, "a")["labels"]
    assert (await worked(settings)).taken == 0, "a poisoned issue is not picked up for ever"


async def test_a_label_counts_where_the_journal_is_gone(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a", labels=["harness:failed"])], [fails("a")])
    assert (await worked(settings)).failed == 1
    assert STUCK in told(settings.root, "a")["labels"]


async def test_an_issue_that_costs_more_than_a_run_may_counts_as_failed(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")])
    poor = settings.model_copy(update={"budget": Budget(calls=1)})
    report = await worked(poor, limits=Limits(parallel=1, max_issues=1))
    assert (report.failed, report.released, report.stopped) == (1, 0, None)
    issue = told(settings.root, "a")
    assert (
        issue["labels"] == ["harness:failed"] and "harness resume a-r1 --budget-usd N" in issue["comments"][0]["text"]
    )
    assert (await worked(settings)).done == 2, "with more it goes on"


async def test_work_that_cannot_land_is_kept_and_lands_later_for_nothing(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a")], [writes("a")], land="merge")
    (settings.root / "README.md").write_text("Half a sentence, not committed yet,\n")
    report = await worked(settings)
    assert (report.failed, told(settings.root, "a")["status"]) == (1, "open")
    assert "has uncommitted changes (README.md)" in told(settings.root, "a")["comments"][0]["text"]
    git(settings.root, "commit", "-qam", "A sentence")
    later = await worked(settings)
    assert later.done == 1 and later.usd == 0 and told(settings.root, "a")["status"] == "closed"
    assert git(settings.root, "show", "main:a.txt") == "done\n"


async def test_three_failures_in_a_row_stop_the_queue(tmp_path: Path) -> None:
    rows = [row(f"x{number}") for number in range(5)]
    settings = place(tmp_path / "repo", rows, [fails()])
    report = await worked(settings, limits=Limits(parallel=1))
    assert (report.taken, report.failed, report.exit_code) == (3, 3, 1)
    assert report.stopped == "3 issues in a row were not accepted: x0, x1, x2"


async def test_an_outage_pauses_the_queue_and_fails_nothing(tmp_path: Path) -> None:
    rows = [row(f"x{number}") for number in range(4)]
    replies = [refuses("unavailable", "x0", times=3), *(writes(f"x{number}") for number in range(4))]
    settings = place(tmp_path / "repo", rows, replies)
    clock = Fast()
    report = await worked(settings, limits=Limits(parallel=1), clock=clock)
    assert (report.done, report.failed, report.released, report.exit_code) == (4, 0, 0, 0)
    assert clock.time - 1000.0 == pytest.approx(360), "three minutes of 529 before each of its turns"
    assert report.usd == sum(Decimal(run["usd"]) for run in report.runs), "nothing was paid, or counted, twice"
    assert report.runs[0]["run"] == "x0-r1", "the same run went on"


async def test_an_outage_that_lasts_gives_the_issues_back_unlabelled(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [refuses("unavailable")])
    report = await worked(settings, limits=Limits(parallel=1), clock=Fast())
    assert (report.taken, report.failed, report.released, report.exit_code) == (1, 0, 1, 1)
    assert report.stopped and "no model could be reached" in report.stopped
    assert told(settings.root, "a")["status"] == "open" and not told(settings.root, "a").get("labels")


async def test_a_refused_key_stops_at_once(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b"), row("c")], [refuses("auth")])
    report = await worked(settings, limits=Limits(parallel=1))
    assert (report.taken, report.released, report.failed, report.exit_code) == (1, 1, 0, 2)
    assert report.stopped and "refused the key" in report.stopped
    assert told(settings.root, "a")["status"] == "open"


def keyless(folder: Path, **more: Any) -> Settings:
    made = place(folder, [row("a"), row("b")], [], **more)
    return made.model_copy(update={"models": made.models.model_copy(update={"script": None})})


async def test_without_a_key_nothing_is_claimed(tmp_path: Path) -> None:
    settings = keyless(tmp_path / "repo")
    queue = issues(settings.root).read_bytes()
    report = await worked(settings)
    assert (report.taken, report.exit_code) == (0, 2)
    assert report.stopped and "there is no key for anthropic" in report.stopped
    async with registry.build(settings) as deps:
        with pytest.raises(ModelAuthError, match="no key for anthropic"):
            await take_issue("a", deps, partial(registry.pipeline, settings=settings))
    assert issues(settings.root).read_bytes() == queue


@pytest.mark.parametrize(
    "settings",
    [{"executor": "codex"}, {"tiers": {"haiku": ["anthropic/a", "ollama/b"]}}],
    ids=["an agent may have a login", "another model of the tier needs none"],
)
async def test_a_key_that_may_not_be_needed_is_not_asked_for(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = keyless(tmp_path / "repo", **settings)
    async with registry.build(made) as deps:
        refuse_keyless(await deps.tracker.get("a"), deps, partial(registry.pipeline, settings=made), Wishes())


async def test_the_budget_of_the_day_counts_earlier_runs_and_stops_in_order(tmp_path: Path) -> None:
    rows = [row("a"), row("b"), row("c")]
    settings = place(tmp_path / "repo", rows, [writes(one) for one in "abc"])
    one = await worked(settings, limits=Limits(max_issues=1))
    poor = settings.model_copy(
        update={"queue": settings.queue.model_copy(update={"budget_per_day": Budget(usd=one.usd)})}
    )
    report = await worked(poor)
    assert (report.taken, report.exit_code) == (0, 0) and report.stopped and "day's budget" in report.stopped
    bounded = await worked(settings, limits=Limits(parallel=1, budget=Budget(usd=one.usd / 4)))
    assert (bounded.taken, bounded.released, bounded.failed, bounded.exit_code) == (1, 1, 0, 1)
    assert bounded.stopped and "queue's budget" in bounded.stopped
    assert told(settings.root, "b")["status"] == "open"
    rest = await worked(settings)
    assert rest.done == 2, "what was stopped goes on"


async def test_a_used_up_day_goes_on_after_midnight(tmp_path: Path) -> None:
    queue = {"budget_per_day": {"calls": 2}, "outage_give_up_seconds": 10 * DAY, "poll_seconds": 600}
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")], queue=queue)
    clock, said = Fast(), list[str]()
    allowance = Allowance(Limits(parallel=1, max_issues=2), clock)
    stop = Stop(settings.state)
    watch = Watch(allowance, stop, said.append)
    async with registry.build(settings, gate=stop.gate) as deps:
        load = partial(registry.pipeline, settings=settings)
        watch.queues.append(Queue(deps, load, allowance=allowance, stop=stop))
        report = await watch.on()
    assert report.done == 2 and report.stopped and "2 issues were taken" in report.stopped
    assert len(said) == 1 and "day's budget is used up: 2 of 2 model calls made" in said[0]
    assert 11 * 3600 <= clock.time - 1000.0 <= 24 * 3600, "the wait lasted until the date changed"


async def test_a_queue_that_works_through_midnight_has_the_next_days_budget(tmp_path: Path) -> None:
    queue = {"budget_per_day": {"calls": 2}}
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")], queue=queue)
    clock = Fast()

    def listen(event: Event) -> None:
        clock.time += DAY if event.kind == "run.finished" else 0

    report = await worked(settings, limits=Limits(parallel=1), clock=clock, listeners=[listen])
    assert (report.done, report.stopped) == (2, None)


async def test_a_tracker_that_goes_away_stops_in_order_and_its_claim_is_given_back_later(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [fails("a"), writes("b")])
    away = issues(settings.root).with_name("away.jsonl")

    def listen(event: Event) -> None:
        if event.kind == "run.finished":
            issues(settings.root).rename(away)

    report = await worked(settings, limits=Limits(parallel=1), listeners=[listen])
    assert (report.taken, report.failed, report.exit_code) == (1, 1, 2)
    assert report.stopped and "no such file" in report.stopped
    assert [run["status"] for run in report.runs] == ["failed"], "what happened is told all the same"
    away.rename(issues(settings.root))
    assert told(settings.root, "a")["status"] == "in_progress"
    later = await worked(settings, limits=Limits(parallel=1))
    assert {run["issue"] for run in later.runs} == {"a", "b"} and later.taken == 2


class Moody:
    """A tracker that cannot claim one of the issues."""

    def __init__(self, tracker: Tracker, cannot: str) -> None:
        self._tracker, self._cannot = tracker, cannot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracker, name)

    async def claim(self, issue_id: str, actor: str) -> bool:
        if issue_id == self._cannot:
            raise TrackerError("the database is locked")
        return await self._tracker.claim(issue_id, actor)


async def test_what_was_claimed_before_the_tracker_failed_is_worked(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")])
    async with registry.build(settings) as deps:
        moody = replace(deps, tracker=Moody(deps.tracker, "b"))
        report = await Queue(moody, partial(registry.pipeline, settings=settings)).drain()
    assert (report.taken, report.done, report.exit_code, report.stopped) == (1, 1, 2, "the database is locked")


async def test_records_that_cannot_be_written_stop_the_queue_and_lose_no_verdict(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")], land="merge")

    async def finished(run: Run) -> None:
        raise JournalError("outcomes.db: is damaged", "move it away")

    report = await worked(settings, limits=Limits(parallel=1), finished=finished)
    assert (report.taken, report.done, report.exit_code) == (1, 1, 2)
    assert report.stopped == "outcomes.db: is damaged\n  → move it away"
    assert told(settings.root, "a")["status"] == "closed"


async def test_a_signal_lets_steps_finish_and_the_next_queue_goes_on(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")])
    stop = Stop(settings.state)

    def listen(event: Event) -> None:
        stop.requested = stop.requested or event.kind == "task.turn"

    report = await worked(settings, limits=Limits(parallel=1), stop=stop, listeners=[listen])
    assert (report.taken, report.released, report.exit_code) == (1, 1, 130)
    assert told(settings.root, "a")["status"] == "open"
    later = await worked(settings, limits=Limits(parallel=1))
    assert [run["run"] for run in later.runs] == ["a-r1", "b-r1"] and later.done == 2


async def test_what_a_dead_queue_held_goes_on_first(tmp_path: Path) -> None:
    rows = [row("a", priority=0), row("b", priority=4, status="in_progress", assignee=DEAD)]
    settings = place(tmp_path / "repo", rows, [writes("a"), writes("b")])
    Claims(settings.state).note("b", DEAD)
    report = await worked(settings, limits=Limits(parallel=1))
    assert order(report) == ["b", "a"]
    assert DEAD in told(settings.root, "b")["comments"][0]["text"]
    assert Claims(settings.state).all() == []


async def test_a_note_on_somebody_elses_claim_changes_nothing(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a", status="in_progress", assignee="ann")], [writes("a")])
    Claims(settings.state).note("a", DEAD)
    assert (await worked(settings)).taken == 0
    assert told(settings.root, "a")["assignee"] == "ann" and Claims(settings.state).all() == []


def test_a_second_queue_of_a_repository_is_told_who_has_it(tmp_path: Path) -> None:
    with queue_lock(tmp_path / ".harness"), pytest.raises(HarnessError, match="worked off by process"):
        with queue_lock(tmp_path / ".harness"):
            pass
    with queue_lock(tmp_path / ".harness"):
        pass


def test_only_a_process_of_this_machine_can_be_known_to_be_dead() -> None:
    assert not is_dead(registry.actor_name())
    assert not is_dead(DEAD) and not is_dead("ann")
    mine = registry.actor_name().rpartition(":")[0]
    assert is_dead(f"{mine}:{2**22 + 1}-abcd")


@pytest.mark.timeout(180)
async def test_ten_queues_never_run_an_issue_twice(tmp_path: Path) -> None:
    """Ten clones, each with its own journal and lock, share one issue file."""
    ids = [f"x{number}" for number in range(12)]
    shared = tmp_path / "shared" / "issues.jsonl"
    shared.parent.mkdir()
    shared.write_text("".join(json.dumps(row(one)) + "\n" for one in ids))
    reports: list[QueueReport] = []

    async def one(number: int) -> None:
        tracker = {"kind": "jsonl", "path": str(shared)}
        settings = place(tmp_path / f"clone{number}", [], [writes()], tracker=tracker)
        reports.append(await worked(settings))

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(one, number)
    done = [issue for report in reports for issue in order(report)]
    assert sorted(done) == sorted(ids) and sum(report.done for report in reports) == len(ids)
    comments = [json.loads(line)["comments"] for line in shared.read_text().splitlines()]
    assert [len(each) for each in comments] == [1] * len(ids)


async def test_an_issue_whose_configuration_is_wrong_fails_alone(tmp_path: Path) -> None:
    rows = [row("a", labels=["pipeline:nonesuch"]), row("b")]
    settings = place(tmp_path / "repo", rows, [writes("a"), writes("b")])
    report = await worked(settings, limits=Limits(parallel=1))
    assert (report.done, report.failed, report.stopped) == (1, 1, None)
    assert [(run["issue"], run["status"]) for run in report.runs] == [("a", "failed"), ("b", "done")]
    assert "nonesuch" in report.runs[0]["error"] and "nonesuch" in told(settings.root, "a")["comments"][-1]["text"]


async def test_a_cancelled_run_is_left_alone_until_somebody_clears_it(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), writes("b")])
    stop = Stop(settings.state)

    def listen(event: Event) -> None:
        if event.kind == "task.turn" and event.issue_id == "a":
            stop.cancel(event.run_id)

    report = await worked(settings, limits=Limits(parallel=1), stop=stop, listeners=[listen])
    assert (report.released, report.done) == (1, 1)
    assert (await worked(settings)).taken == 0
    stop.clear("a-r1")
    assert (await worked(settings)).done == 1


async def test_every_run_is_handed_on_for_the_records(tmp_path: Path) -> None:
    settings = place(tmp_path / "repo", [row("a"), row("b")], [writes("a"), fails("b")])
    seen: list[tuple[str, str]] = []

    async def finished(run: Run) -> None:
        seen.append((run.id, run.status))

    await worked(settings, limits=Limits(parallel=1), finished=finished)
    assert seen == [("a-r1", "done"), ("b-r1", "failed")]
