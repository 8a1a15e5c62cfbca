"""Observed sizes: of real work only, the newest first."""

from __future__ import annotations

from pathlib import Path

from harness.outcomes import Outcomes
from harness.routing.observed import observed
from tests.fakes.outcomes import make_outcome, make_run_outcome


def test_nothing_observed(tmp_path: Path) -> None:
    tasks, usage = observed(tmp_path)
    assert (tasks, usage.tokens) == (0, 0)


def test_a_tasks_attempts_are_one_task(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        rows = [make_outcome(1, id=f"a{n}", attempt=n, input_tokens=100, output_tokens=10) for n in (1, 2)]
        store.put(make_run_outcome("run-1"), rows)
        store.put(make_run_outcome("run-2", scripted=1), [make_outcome(2, scripted=1, input_tokens=9_999)])
    tasks, usage = observed(tmp_path)
    assert (tasks, usage.input_tokens, usage.output_tokens) == (1, 200, 20)
