"""The metrics by known answers, their intervals, and when there is no verdict."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.stats import sparkline
from harness.outcomes import Outcomes
from harness.records import DAY
from harness.report.intervals import mean_ratio, ratio, wilson
from harness.report.metrics import Metric, collect
from tests.fakes.outcomes import NOW, make_history, make_outcome, make_run_outcome


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Outcomes]:
    with Outcomes(tmp_path) as made:
        yield made


def metric(store: Outcomes, name: str, since: int = 0) -> Metric:
    return next(one for one in collect(store, since).metrics if one.name == name)


def fill(store: Outcomes, solved: int, failed: int, **changes: object) -> None:
    for number in range(solved + failed):
        ok = int(number < solved)
        run_id = f"{changes.get('tier', 'haiku')}-{changes.get('rule', '')}-{number}"
        row = make_outcome(number, run_id=run_id, id=run_id, success=ok, landed=ok, verified=ok,
                           outcome="passed" if ok else "failed", **changes)  # fmt: skip
        store.put(make_run_outcome(run_id), [row])


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 0, 0.0, 1.0), (10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (85, 100, 0.7672, 0.9069), (1, 1, 0.2065, 1.0)],
)
def test_wilson_by_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    random_ = random.Random(4)
    covered = 0
    for _ in range(2_000):
        low, high = wilson(sum(random_.random() < 0.85 for _ in range(40)), 40)
        covered += low <= 0.85 <= high
    assert 0.93 <= covered / 2_000 <= 0.97


def test_ratio_of_equal_pairs_is_certain() -> None:
    assert ratio(3, 6.0, 12.0, 12.0, 48.0, 24.0) == (0.5, 0.5, 0.5)


def test_ratio_of_one_pair_is_not() -> None:
    value, low, high = ratio(1, 2.0, 4.0, 4.0, 16.0, 8.0)
    assert value == 0.5 and low == float("-inf") and high == float("inf")


def test_mean_ratio() -> None:
    value, low, high = mean_ratio(100, 400.0, 1650.0, 100, 500.0, 2550.0)
    assert value == pytest.approx(0.8)
    assert low < 0.8 < high


def test_under_twenty_there_is_no_verdict(store: Outcomes) -> None:
    fill(store, 19, 0)
    assert metric(store, "cheap_success").verdict == "not enough data"
    assert metric(store, "cheap_success").value == 1.0


def test_success_rate_against_its_target(store: Outcomes) -> None:
    fill(store, 99, 1)
    found = metric(store, "cheap_success")
    assert (found.value, found.n, found.verdict) == (0.99, 100, "met")


def test_a_rate_near_the_target_is_unclear_and_one_far_below_missed(store: Outcomes) -> None:
    fill(store, 26, 4)
    assert metric(store, "cheap_success").verdict == "unclear"
    fill(store, 30, 70)
    assert metric(store, "cheap_success").verdict == "missed"


def test_savings_from_the_runs_with_known_prices(store: Outcomes) -> None:
    for number in range(30):
        store.put(make_run_outcome(f"r{number}", cost=6_000_000, baseline_nusd=10_000_000), [make_outcome(number)])
    store.put(make_run_outcome("unknown", cost=9_000_000, unpriced=2), [make_outcome(99)])
    found = metric(store, "savings")
    assert found.value == pytest.approx(0.4)
    assert (found.n, found.verdict) == (30, "met")
    assert "1 runs with unknown prices left out" in found.note
    assert collect(store).money.unpriced_requests == 2


def test_losing_money_is_told(store: Outcomes) -> None:
    for number in range(25):
        store.put(make_run_outcome(f"r{number}", cost=12_000_000, baseline_nusd=10_000_000), [make_outcome(number)])
    assert metric(store, "savings").value == pytest.approx(-0.2)
    assert metric(store, "savings").verdict == "missed"
    assert collect(store).money.losing_runs == 25


def test_average_task_cost_counts_all_that_was_spent(store: Outcomes) -> None:
    for number in range(25):
        store.put(make_run_outcome(f"r{number}", tasks=2, cost=30_000_000), [make_outcome(number)])
    found = metric(store, "task_cost")
    assert found.value == pytest.approx(0.015)
    assert (found.n, found.verdict) == (50, "met")


def test_share_of_the_cheapest_tier(store: Outcomes) -> None:
    fill(store, 50, 0)
    fill(store, 50, 0, tier="sonnet", rank=1)
    assert metric(store, "cheap_share").value == 0.5


def test_routing_is_wrong_both_ways(store: Outcomes) -> None:
    fill(store, 40, 0, rule="easy", keys=("*", "rule:easy"))
    fill(store, 20, 0, rule="easy", keys=("*", "rule:easy"), tier="sonnet", rank=1)
    over = metric(store, "routing_accuracy")
    assert over.value == pytest.approx(40 / 60), "what haiku solves did not need sonnet"
    fill(store, 0, 10, rule="hard", keys=("*", "rule:hard"), escalates=1)
    assert metric(store, "routing_accuracy").value == pytest.approx(40 / 70)


def test_what_could_not_be_checked_is_said(store: Outcomes) -> None:
    fill(store, 30, 0, rule="deep", keys=("*", "rule:deep"), tier="opus", rank=2)
    found = metric(store, "routing_accuracy")
    assert found.value == 1.0
    assert "30 tasks not checked" in found.note


def test_quality_against_the_baseline(store: Outcomes) -> None:
    fill(store, 30, 0, quality=4.0)
    assert metric(store, "quality").verdict == "not enough data"
    fill(store, 30, 0, quality=5.0, tier="sonnet", rank=1)
    assert metric(store, "quality").value == pytest.approx(0.8)


def test_since_leaves_out_what_is_older(store: Outcomes) -> None:
    store.put(make_run_outcome("old", at=NOW - 40 * DAY), [make_outcome(1, run_id="old", at=NOW - 40 * DAY)])
    store.put(make_run_outcome("new"), [make_outcome(2, run_id="new")])
    assert collect(store).attempts == 2
    assert collect(store, NOW - 30 * DAY).attempts == 1
    assert collect(store, NOW - 30 * DAY).runs == 1


def test_scripted_runs_are_left_out_unless_there_are_no_others(store: Outcomes) -> None:
    store.put(make_run_outcome("s", scripted=1), [make_outcome(1, run_id="s", scripted=1)])
    alone = collect(store)
    assert alone.scripted and alone.runs == 1
    store.put(make_run_outcome("r"), [make_outcome(2, run_id="r")])
    both = collect(store)
    assert (both.scripted, both.runs, both.scripted_left_out) == (False, 1, 1)


def test_experiments_do_not_count_as_routing(store: Outcomes) -> None:
    store.put(make_run_outcome("x", experiment=1), [make_outcome(1, run_id="x", experiment=1, starts=0)])
    found = collect(store)
    assert found.runs == 0
    assert metric(store, "cheap_share").value is None
    assert metric(store, "cheap_success").n == 1, "but they are evidence on the tier"


def test_one_run_has_no_interval(store: Outcomes) -> None:
    store.put(make_run_outcome("r", tasks=40), [make_outcome(1)])
    for name in ("savings", "task_cost"):
        found = metric(store, name)
        assert found.value is not None
        assert (found.low, found.high, found.verdict) == (None, None, "not enough data")


def test_nothing_is_no_error(store: Outcomes) -> None:
    found = collect(store)
    assert found.runs == 0
    assert {one.verdict for one in found.metrics} == {"not enough data"}


def test_a_trend_has_the_period_in_equal_parts(store: Outcomes) -> None:
    for run, rows in make_history(800):
        store.put(run, rows)
    trend = metric(store, "cheap_success").trend
    assert len(trend) == 8
    assert all(value is None or 0.5 < value <= 1 for value in trend)


def test_sparkline() -> None:
    assert sparkline((0.0, None, 1.0)) == "▁ █"
    assert sparkline((None, 0.5)) == ""
    assert sparkline((0.5, 0.5)) == "▄▄"
