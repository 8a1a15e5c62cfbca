"""Outcomes in quantity, without runs behind them: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from harness.records import DAY, Outcome, RunOutcome, outcome_id

NOW = 1_795_000_000
RULES = {"mechanical-verb": 0.93, "one-file": 0.88, "default": 0.72, "risk-words": 0.60, "design-words": 0.66}
"""Rule → how often the cheapest tier solves a task of it."""
WORDS = ("fix", "add", "rename", "update", "remove", "handle", "test", "document", "move", "support")
COSTS = {"haiku": 4_000_000, "sonnet": 14_000_000, "opus": 30_000_000}


def make_outcome(number: int = 1, **changes: object) -> Outcome:
    """One passed, landed attempt at the cheapest tier."""
    run_id = f"run-{number}"
    outcome = Outcome(
        id=outcome_id(run_id, "t1", 0, 1), run_id=run_id, issue_id=f"i-{number}", task_id="t1", round=0, attempt=1,
        at=NOW, tier="haiku", rank=0, model="anthropic/claude-haiku-5-5", strategy="pattern", rule="mechanical-verb",
        confidence=0.9, propensity=1.0, outcome="passed", verified=1, landed=1, success=1, counts=1, starts=1,
        escalates=0, escalated=0, ends=1, stay_nusd=4_000_000, cost_nusd=4_000_000, unpriced=0, seconds=40.0,
        requests=4, input_tokens=4_000, output_tokens=1_200, cache_read_tokens=40_000, cache_write_tokens=3_000,
        quality=None, scripted=0, experiment=0, keys=("*", "rule:mechanical-verb", "rule+type:mechanical-verb task"),
        description="Rename a function", notes="",
    )  # fmt: skip
    return replace(outcome, **changes)  # type: ignore[arg-type]


def make_run_outcome(
    run_id: str, at: int = NOW, tasks: int = 1, cost: int = 4_000_000, **changes: object
) -> RunOutcome:
    outcome = RunOutcome(
        run_id=run_id, issue_id=f"i-{run_id}", at=at, status="done", landed=1, scripted=0, experiment=0, tasks=tasks,
        cost_nusd=cost, planning_nusd=cost // 10, review_nusd=cost // 20, redone_nusd=0, unpriced=0,
        baseline_tier="sonnet", baseline_nusd=int(cost * 1.6), strong_tier="opus", strong_nusd=int(cost * 2.9),
        seconds=60.0, total_input=50_000, cache_read=40_000,
    )  # fmt: skip
    return replace(outcome, **changes)  # type: ignore[arg-type]


def make_history(attempts: int, seed: int = 7, days: int = 180) -> Iterator[tuple[RunOutcome, list[Outcome]]]:
    """Runs of one to six tasks over `days`, about `attempts` attempts in all, oldest first."""
    random_ = random.Random(seed)
    made = number = 0
    while made < attempts:
        number += 1
        at = NOW - days * DAY + int(days * DAY * made / attempts)
        rule = random_.choices(list(RULES), (5, 3, 4, 1, 1))[0]
        start = "haiku" if RULES[rule] > 0.7 else "opus" if rule == "risk-words" else "sonnet"
        type_, word = random_.choice(("bug", "task", "feature")), random_.choice(WORDS)
        keys = ("*", f"rule:{rule}", f"rule+type:{rule} {type_}", f"rule+type+word:{rule} {type_} {word}")
        rows: list[Outcome] = []
        for task in range(random_.choice((1, 1, 2, 4, 6))):
            rows.extend(_task(random_, f"h-{number}", f"t{task + 1}", at, start, rule, keys))
        made += len(rows)
        cost = int(sum(row.cost_nusd for row in rows) * 1.15)
        yield make_run_outcome(f"h-{number}", at, len({row.task_id for row in rows}), cost,
                               baseline_nusd=int(cost * random_.uniform(0.9, 2.4))), rows  # fmt: skip


def _task(
    random_: random.Random, run_id: str, task_id: str, at: int, start: str, rule: str, keys: tuple[str, ...]
) -> list[Outcome]:
    tiers = list(COSTS)[list(COSTS).index(start) :]
    rows: list[Outcome] = []
    for tier in tiers:
        chance = RULES[rule] + 0.08 * list(COSTS).index(tier)
        solved = random_.random() < chance
        cost = int(COSTS[tier] * random_.uniform(0.5, 1.6))
        attempt = len(rows) + 1
        rows.append(
            make_outcome(
                id=outcome_id(run_id, task_id, 0, attempt),
                run_id=run_id,
                issue_id=f"i-{run_id}",
                task_id=task_id,
                attempt=attempt,
                at=at,
                tier=tier,
                rank=list(COSTS).index(tier),
                model=f"anthropic/claude-{tier}-5-5",
                rule=rule,
                outcome="passed" if solved else "failed",
                verified=int(solved),
                landed=int(solved),
                success=int(solved),
                starts=int(attempt == 1),
                escalated=int(attempt > 1),
                stay_nusd=cost,
                cost_nusd=cost,
                quality=random_.choice((4.0, 5.0, 5.0)) if solved and random_.random() < 0.3 else None,
                keys=keys,
                description=f"{keys[-1].rsplit(' ', 1)[-1]} the thing number {attempt}",
            )
        )
        if solved:
            break
    if len(rows) > 1:
        rows[0] = replace(rows[0], escalates=1)
    return rows
