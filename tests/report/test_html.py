"""The reports: complete, self-contained, true to the run, and safe whatever an issue says."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.outcomes import Outcomes
from harness.report.diffs import files_of
from harness.report.experiments import record
from harness.report.html import run_report
from harness.report.nextsteps import next_steps
from harness.report.period import period_report
from harness.report.savings import run_savings
from harness.report.story import story
from harness.report.timeline import most_at_once, timeline
from harness.types import Check, Finding, Issue, Review, Run, TraceLine
from tests.fakes.outcomes import make_history
from tests.fakes.runs import TRACEBACK, make_events, make_run

DIFF = """diff --git a/src/a.py b/src/a.py
index 2222222..3333333 100644
--- a/src/a.py
+++ b/src/a.py
@@ -1,2 +1,3 @@
 one
-two
+<script>alert(1)</script>
+three
diff --git a/old.txt b/new.txt
similarity index 100%
rename from old.txt
rename to new.txt
diff --git a/logo.png b/logo.png
new file mode 100644
index 0000000..4444444
Binary files /dev/null and b/logo.png differ
"""
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=x javascript:alert(3) </title></style>"
SETTINGS = Settings()


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "hr", "img", "input", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += data

    @property
    def balanced(self) -> bool:
        return not self._open


def report(run: Run, diff: str = DIFF) -> str:
    return run_report(run, make_events(run), diff, run_savings(run, SETTINGS))


@pytest.mark.parametrize("status", ["done", "failed", "rejected", "running", "over_budget", "interrupted", "cancelled"])
def test_every_end_makes_a_whole_page(status: str) -> None:
    page = Page(report(make_run(seed=5, tasks=6, status=status)))
    assert page.balanced
    assert "What to do next" in page.words


def test_it_says_what_happened_what_it_cost_and_what_failed() -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    words = Page(report(run)).words
    assert f"${run.usage.cost_usd:.4f}" in words
    assert "5 of 6" in words
    assert "All sonnet: about $" in words and "All opus: about $" in words
    assert TRACEBACK.splitlines()[0] in words, "the failing output itself"
    assert "harness run web-105" in words, "a failed run is not gone on with, but begun anew"
    assert "four-or-more-files" in words, "the rule that decided"
    assert words.count("pytest -q exit 1") == sum(a.outcome == "failed" for r in run.results for a in r.attempts)


def test_it_tells_the_story_in_order() -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    told = story(run)
    assert told[0] == "Routed to haiku by “four-or-more-files”: 4 files named; a plan splits them."
    assert told[1] == "A planner (sonnet) split it into 6 tasks."
    troubled = [result for result in run.results if len(result.attempts) > 1 or result.status != "done"]
    assert troubled and all(any(line.startswith(f"{one.task_id}: ") for line in told) for one in troubled)
    assert any("did not pass" in line and "pytest -q: exit 1" in line for line in told)
    assert told[-1] == f"It ended as failed: {run.error}."
    done = make_run(seed=1, tasks=2, fail_rate=0.0)
    assert "2 tasks passed at the first attempt (2 by haiku)." in story(done)
    assert story(done)[-1].startswith("The work was verified as a whole and put on the branch harness/")


def test_work_that_was_redone_says_why() -> None:
    run = make_run(seed=1, tasks=2, review=False)
    redone, task = run.grown(superseded=run.results[:1]), run.results[0].task_id
    assert run.integration is not None
    for changes, words in (
        ({"conflicts": (task,)}, "changed the same lines"),
        ({"broken": (task,)}, "though each had passed alone"),
        ({}, "the review asked for more"),
    ):
        merged = run.integration.model_copy(update=changes)
        assert [line for line in story(redone.grown(integration=merged)) if words in line], words


def test_a_run_that_lost_money_says_so() -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    savings = run_savings(run, SETTINGS)
    assert savings.baselines[0].saved_usd is not None and savings.baselines[0].saved_usd < 0
    assert "Routing lost" in Page(report(run)).words


def test_nothing_leaves_the_page_and_nothing_runs() -> None:
    text = report(make_run(seed=3, tasks=8))
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert any(name == "content" and value.startswith("default-src 'none';") for name, value in page.attributes)
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        if name in ("href", "src"):
            assert value.startswith("#"), value
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style


def evil_run() -> Run:
    run = make_run(seed=5, tasks=3, status="rejected")
    attempt = run.results[0].attempts[0].model_copy(
        update={"outcome": "failed", "summary": EVIL, "model": EVIL, "worker": EVIL, "tier": EVIL,
                "checks": (Check(command=EVIL, exit_code=1, output=EVIL),)}
    )  # fmt: skip
    assert run.plan is not None
    tasks = tuple(task.model_copy(update={"title": EVIL, "files": (EVIL,)}) for task in run.plan.tasks)
    trace = (TraceLine(rule=EVIL, matched=True, why=EVIL),)
    route = {"rule": EVIL, "reason": EVIL, "warnings": (EVIL,), "trace": trace}
    return run.grown(
        id=EVIL,
        issue=Issue(id=EVIL, title=EVIL, body=EVIL, labels=(EVIL,)),
        error=EVIL,
        hint=EVIL,
        base=EVIL,
        plan=run.plan.model_copy(update={"summary": EVIL, "tasks": tasks}),
        results=(run.results[0].model_copy(update={"attempts": (attempt,), "error": EVIL}), *run.results[1:]),
        reviews=(Review(verdict="reject", summary=EVIL, findings=(Finding(title=EVIL, detail=EVIL, path=EVIL),)),),
        route=run.route.model_copy(update=route),
    )


def test_untrusted_text_stays_text() -> None:
    run = evil_run()
    events = [event.model_copy(update={"kind": EVIL, "data": {EVIL: EVIL}}) for event in make_events(run)]
    page = Page(run_report(run, events, f"diff --git a/{EVIL} b/{EVIL}\n+++ b/{EVIL}\n@@ -1 +1 @@\n+{EVIL}\n"))
    assert page.balanced
    assert "script" not in page.tags and "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name in ("href", "src") and not value.startswith("#")]
    assert "<script>alert(1)</script>" in page.words, "shown as it is"


def test_two_hundred_tasks_are_small_and_quick() -> None:
    run = make_run(seed=8, tasks=200, workers=8)
    began = time.process_time()
    text = report(run)
    assert len(text.encode()) < 2_000_000
    assert time.process_time() - began < 15, "hung, not merely slow: bench_report.py measures"


def test_a_huge_diff_is_cut_and_says_so() -> None:
    diff = "".join(f"diff --git a/f{n} b/f{n}\n+++ b/f{n}\n@@ -0,0 +1,900 @@\n" + "+x\n" * 900 for n in range(40))
    text = report(make_run(), diff)
    assert len(text.encode()) < 2_000_000
    assert "more lines" in text
    assert "36,000 lines added" in Page(text).words


def test_files_of_a_diff() -> None:
    changed, renamed, binary = files_of(DIFF)
    assert (changed.path, changed.added, changed.removed) == ("src/a.py", 2, 1)
    assert (renamed.path, renamed.note) == ("new.txt", "renamed from old.txt")
    assert (binary.path, binary.note) == ("logo.png", "new file")
    assert files_of("") == []


def test_lines_that_look_like_headers_stay_lines() -> None:
    [file] = files_of("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- sql comment\n+++ b/y\n")
    assert (file.path, file.added, file.removed) == ("x", 1, 1)


def test_attempts_of_one_worker_at_the_same_time_do_not_hide_each_other() -> None:
    run = make_run(seed=3, tasks=8, workers=3)
    alone = tuple(
        result.model_copy(update={"attempts": tuple(a.model_copy(update={"worker": "vm"}) for a in result.attempts)})
        for result in run.results
    )
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', timeline(run.grown(results=alone)))
    assert len(bars) == sum(len(result.attempts) for result in run.results)
    placed = [(float(x), float(y), float(width)) for x, y, width in bars]
    for index, (x, y, width) in enumerate(placed):
        for x2, y2, width2 in placed[:index]:
            assert y != y2 or x + width <= x2 + 1 or x2 + width2 <= x + 1
    assert most_at_once([attempt for result in run.results for attempt in result.attempts]) == 3


def test_a_scripted_run_says_that_no_api_was_called() -> None:
    assert "no API was called" in Page(report(make_run(scripted=True))).words
    assert "no API was called" not in Page(report(make_run())).words


@pytest.mark.parametrize(
    ("status", "command"),
    [("done", "git merge harness/r-000001"), ("failed", "harness run web-101"), ("rejected", "harness run web-101"),
     ("cancelled", "harness run web-101"),
     ("over_budget", "--budget-usd"), ("interrupted", "harness resume r-000001"),
     ("running", "harness cancel r-000001")],
)  # fmt: skip
def test_next_steps_are_commands(status: str, command: str) -> None:
    steps = next_steps(make_run(seed=1, status=status))
    assert any(command in step for step in steps)


async def test_a_period(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    for seed in range(12):
        await record(make_run(seed=seed, status=("done", "failed", "rejected")[seed % 3]), settings)
    with Outcomes(settings.state) as store:
        page = Page(period_report(store))
    assert page.balanced
    assert "Top failures" in page.words and "pytest -q: exit 1" in page.words
    assert "Savings" in page.words
    assert re.search(r"Targets met\d of 6", page.words)


def test_a_period_without_runs(tmp_path: Path) -> None:
    with Outcomes(tmp_path, create=False) as store:
        page = Page(period_report(store))
    assert page.balanced and "no outcomes yet" in page.words


def test_a_long_period_stays_small(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        for run, rows in make_history(2_000):
            store.put(run, rows)
        text = period_report(store)
    assert len(text.encode()) < 2_000_000
    assert "The newest 200 of" in text


async def test_untrusted_text_in_a_period_stays_text(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    await record(evil_run(), settings)
    with Outcomes(settings.state) as store:
        page = Page(period_report(store))
    assert page.balanced
    assert "script" not in page.tags and "img" not in page.tags
