"""What one model would have cost, by known answers."""

from __future__ import annotations

from decimal import Decimal

from harness.config.settings import Settings
from harness.pricing import cost_of
from harness.report.savings import counterfactual, run_savings
from harness.types import Attempt, ModelCall, TaskResult, Usage
from tests.fakes.runs import make_run

SETTINGS = Settings(tiers={
    "haiku": ("anthropic/claude-haiku-4-5",), "sonnet": ("anthropic/claude-sonnet-4-5",),
    "opus": ("anthropic/claude-opus-4-7",),
})  # fmt: skip


def call(tier: str, phase: str = "execute", task_id: str | None = "t1", attempt: int = 1, **tokens: int) -> ModelCall:
    usage = Usage(requests=1, **(tokens or {"input_tokens": 10_000, "output_tokens": 1_000}))
    model = SETTINGS.tiers[tier][0]
    cost = cost_of(model, usage)
    assert cost is not None
    return ModelCall(phase=phase, task_id=task_id, attempt=attempt, tier=tier, model=model,
                     usage=usage.model_copy(update={"cost_usd": cost}))  # fmt: skip


def test_a_published_session_costs_what_it_cost() -> None:
    calls = (call("haiku", input_tokens=6, cache_write_5m_tokens=159_217, output_tokens=2_745),)
    assert counterfactual(calls, SETTINGS).baselines[-1].cost_usd == Decimal("1.06376125")


def test_baseline_first_then_the_strongest() -> None:
    found = counterfactual((call("haiku"),), SETTINGS)
    assert [other.tier for other in found.baselines] == ["sonnet", "opus"]
    # $1 and $5 a million against $3 and $15: a third.
    assert found.actual_usd == Decimal("0.015")
    assert found.baselines[0].cost_usd == Decimal("0.045")
    assert found.baselines[0].saved_usd == Decimal("0.03")
    assert "saved" in found.sentences()[0]


def test_planning_and_review_count_against_the_savings() -> None:
    calls = (call("sonnet", "plan", None), call("haiku"), call("opus", "review", None))
    found = counterfactual(calls, SETTINGS)
    assert found.baselines[0].cost_usd == Decimal("0.045"), "one model needs no planner and no reviewer"
    assert found.planning_usd == Decimal("0.045")
    assert found.review_usd == Decimal("0.075")
    saved = found.baselines[0].saved_usd
    assert saved is not None and saved < 0
    assert "routing LOST $0.0900" in found.sentences()[0]


def test_attempts_escalated_away_from_are_overhead() -> None:
    calls = (call("haiku", attempt=1), call("haiku", attempt=2), call("sonnet", attempt=3))
    found = counterfactual(calls, SETTINGS)
    assert found.redone_usd == Decimal("0.030")
    assert found.baselines[0].cost_usd == Decimal("0.045"), "only the attempt that did the work is replayed"


def test_a_redone_round_replaces_the_earlier_one() -> None:
    calls = (call("haiku", attempt=1), call("haiku", attempt=2), call("haiku", attempt=1))
    found = counterfactual(calls, SETTINGS)
    assert found.baselines[0].cost_usd == Decimal("0.045")
    assert found.redone_usd == Decimal("0.030")


def test_unknown_prices_stay_unknown() -> None:
    known = call("haiku")
    unknown = known.model_copy(update={"usage": Usage(requests=1, input_tokens=10, unpriced_requests=1)})
    found = counterfactual((known, unknown), SETTINGS)
    assert found.unpriced_requests == 1
    assert found.baselines[0].saved_usd is None
    assert "unknown" in found.sentences()[0]
    local = SETTINGS.model_copy(update={"tiers": {**SETTINGS.tiers, "opus": ("local/nobody-knows",)}})
    assert counterfactual((known,), local).baselines[-1].cost_usd is None


def test_no_calls_cost_nothing() -> None:
    found = counterfactual((), SETTINGS)
    assert found.actual_usd == 0
    assert found.baselines[0].saved_share is None


def test_phases_and_tiers_add_up_to_the_whole() -> None:
    run = make_run(seed=5, tasks=6, status="failed")
    found = counterfactual(run.calls, Settings())
    assert sum(found.by_phase.values()) == found.actual_usd == run.usage.cost_usd
    assert sum(found.by_tier.values()) == found.actual_usd
    work = sum(call.usage.cost_usd for call in run.calls if call.phase == "execute")
    assert found.planning_usd + found.review_usd + work == found.actual_usd


def test_rounds_that_were_redone_are_paid_and_are_no_work_of_one_model() -> None:
    """Told apart even where the later round began at a higher attempt, so that its calls look like a continuation."""
    first, second = call("haiku", attempt=1), call("haiku", attempt=2)
    found = counterfactual((second,), SETTINGS, superseded=(first,))
    assert found.actual_usd == Decimal("0.030"), "both were paid"
    assert found.by_phase == {"execute": Decimal("0.030")} and found.by_tier == {"haiku": Decimal("0.030")}
    assert found.redone_usd == found.overhead_usd == Decimal("0.015")
    assert found.baselines[0].cost_usd == Decimal("0.045"), "one model does the work once"
    assert found.baselines[0].saved_usd == Decimal("0.015")


def test_a_runs_superseded_results_are_its_redone_rounds() -> None:
    attempt = Attempt(number=1, tier="haiku", model="m", outcome="passed", calls=(call("haiku"),))
    result = TaskResult(task_id="t1", status="done", attempts=(attempt,))
    run = make_run(seed=1, tasks=1).model_copy(
        update={"results": (result,), "superseded": (result, result), "reviews": (), "other_calls": ()}
    )
    found = run_savings(run, SETTINGS)
    assert (found.actual_usd, found.redone_usd) == (Decimal("0.045"), Decimal("0.030"))
    assert found.baselines[0].cost_usd == Decimal("0.045")
