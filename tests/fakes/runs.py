"""Realistic runs out of thin air, the same for the same seed: for reports, metrics and stores to work on."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from harness.types import (
    Attempt,
    Check,
    Event,
    Finding,
    Integration,
    Issue,
    Landing,
    ModelCall,
    Phase,
    Pipeline,
    Plan,
    Review,
    RouteDecision,
    Run,
    Task,
    TaskResult,
    TraceLine,
    Usage,
)

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
RATES = {"haiku": (1.0, 5.0), "sonnet": (3.0, 15.0), "opus": (5.0, 25.0)}
"""USD per million input and output tokens: of this fake, not of any price list."""
WORK = (
    ("Add an `ExpiringCache` with a per-entry time to live", "src/cache/expiring.py"),
    ("Evict least recently used entries above `max_entries`", "src/cache/lru.py"),
    ("Expose hit, miss and eviction counters", "src/cache/metrics.py"),
    ("Read cache limits from the settings file", "src/settings.py"),
    ("Use the cache in the HTTP client's lookups", "src/http/client.py"),
    ("Test expiry, eviction and concurrent access", "tests/test_cache.py"),
    ("Document the cache options in the guide", "docs/guide.md"),
    ("Rename `get_cached` to `lookup` and keep an alias", "src/http/lookup.py"),
)
TRACEBACK = """FAILED tests/test_cache.py::test_expired_entry_is_a_miss - AssertionError: assert 'old' is None
    def test_expired_entry_is_a_miss(clock):
        cache = ExpiringCache(ttl=10, clock=clock)
        cache.put("k", "old")
        clock.advance(10)
>       assert cache.get("k") is None
E       AssertionError: assert 'old' is None
1 failed, 41 passed in 1.83s"""


def model_of(tier: str) -> str:
    return f"anthropic/claude-{tier}-5-5"


def make_usage(random_: random.Random, tier: str, scale: float = 1.0) -> Usage:
    """One call's tokens, priced at this fake's rates; most of the prompt comes from the cache."""
    fresh, read = int(random_.uniform(900, 2500) * scale), int(random_.uniform(6_000, 30_000) * scale)
    written, out = int(random_.uniform(0, 2500) * scale), int(random_.uniform(250, 1400) * scale)
    inp, outp = RATES[tier]
    cost = (fresh * inp + read * inp * 0.1 + written * inp * 1.25 + out * outp) / 1e6
    return Usage(
        requests=1,
        input_tokens=fresh,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_5m_tokens=written,
        cost_usd=Decimal(cost).quantize(Decimal("0.00000001")),
    )


def make_attempt(
    random_: random.Random,
    task_id: str,
    number: int,
    tier: str,
    outcome: str = "passed",
    started_at: datetime = START,
    worker: str = "oak/1",
    calls: int = 4,
) -> Attempt:
    failed = outcome == "failed"
    seconds = random_.uniform(20, 90)
    checks = (
        Check(command="ruff check .", exit_code=0, seconds=0.4),
        Check(
            command="pytest -q",
            exit_code=int(failed),
            seconds=1.9,
            output=TRACEBACK if failed else "42 passed in 1.74s",
        ),
    )
    return Attempt(
        number=number,
        tier=tier,
        model=model_of(tier),
        outcome=outcome,  # type: ignore[arg-type]
        summary="Wrote the class and its tests; expiry compares with `>` where `>=` is needed."
        if failed
        else "Done as asked.",
        feedback=f"pytest -q failed:\n{TRACEBACK}" if failed else "",
        checks=checks,
        calls=tuple(
            ModelCall(
                phase="execute",
                task_id=task_id,
                attempt=number,
                tier=tier,
                model=model_of(tier),
                usage=make_usage(random_, tier),
                seconds=seconds / calls,
            )
            for _ in range(calls)
        ),
        seconds=seconds,
        started_at=started_at,
        worker=worker,
    )


def make_run(
    seed: int = 1,
    tasks: int = 6,
    status: str = "done",
    start_tier: str = "haiku",
    fail_rate: float = 0.25,
    at: datetime = START,
    workers: int = 3,
    title: str = "Cache HTTP lookups with expiry and limits",
    strategy: str = "files",
    rule: str = "four-or-more-files",
    issue_type: str = "feature",
    scripted: bool = False,
    review: bool = True,
) -> Run:
    """A run of `tasks` tasks, finished as `status` says; `running` leaves the later half undone."""
    random_ = random.Random(seed)
    plan = _plan(random_, tasks)
    results: list[TaskResult] = []
    free = [at + timedelta(seconds=35)] * workers
    ended: dict[str, datetime] = {}
    done_tasks = plan.tasks[: max(1, tasks // 2)] if status == "running" else plan.tasks
    for number, task in enumerate(done_tasks):
        lane = min(range(workers), key=lambda index: free[index])
        begin = max([free[lane], *(ended[name] for name in task.depends_on if name in ended)])
        fails_for_good = status == "failed" and number == len(done_tasks) - 1
        result = _result(random_, task.id, start_tier, fail_rate, begin, f"oak/{lane + 1}", fails_for_good)
        results.append(result)
        ended[task.id] = free[lane] = max(a.started_at + timedelta(seconds=a.seconds) for a in result.attempts)  # type: ignore[operator]
    end = max(free) + timedelta(seconds=40)
    finished = status != "running"
    issue = Issue(
        id=f"web-{100 + seed}",
        title=title,
        type=issue_type,
        body="Lookups go to the server each time. Keep answers for `ttl` seconds, at most `max_entries` of them.",
        labels=("area:http", "performance"),
        priority=1,
        files=tuple(path for _, path in WORK[:4]),
        created_at=at - timedelta(days=2),
        source="beads",
    )
    planner = ModelCall(
        phase="plan", tier="sonnet", model=model_of("sonnet"), usage=make_usage(random_, "sonnet", 0.8), seconds=31.0
    )
    return Run(
        id=f"r-{seed:06x}",
        issue=issue,
        route=RouteDecision(
            tier=start_tier,
            model=model_of(start_tier),
            pipeline="plan-execute-review",
            strategy=strategy,
            rule=rule,
            reason="4 files named; a plan splits them",
            confidence=0.9,
            candidates=(model_of(start_tier),),
            estimated_cost=Decimal("0.061"),
            baseline_cost=Decimal("0.184"),
            trace=_trace(rule),
        ),
        pipeline=Pipeline(
            name="plan-execute-review",
            description="a planner splits, cheap workers do, a strong reviewer looks at what is risky",
            phases=(
                Phase(id="1_planning", kind="plan"),
                Phase(id="2_execution", kind="execute", tier="haiku"),
                Phase(id="3_review", kind="review", tier="opus", trigger="label:security"),
            ),
            verify=("ruff check .", "pytest -q"),
        ),
        repo="/home/ann/web",
        base="1f2e3d4c5b6a79880716253443526170f1e2d3c4",
        base_branch="main",
        plan=plan,
        results=tuple(results),
        integration=Integration(
            commit="9a8b7c6d5e4f30211203f4e5d6c7b8a990817263",
            merged=tuple(r.task_id for r in results if r.status == "done"),
            checks=(Check(command="pytest -q", exit_code=0, seconds=6.1, output="87 passed in 5.90s"),),
        )
        if finished
        else None,
        reviews=_reviews(random_, status, plan) if finished and review and status != "failed" else (),
        landing=Landing(
            mode="branch",
            branch=f"harness/r-{seed:06x}",
            commit="9a8b7c6d5e4f30211203f4e5d6c7b8a990817263",
            note=f"merge it: git merge harness/r-{seed:06x}",
        )
        if status == "done"
        else None,
        status=status,  # type: ignore[arg-type]
        error=f"task {plan.tasks[-1].id} failed on every tier" if status == "failed" else None,
        hint="look at its verify output, then: harness resume RUN" if status == "failed" else None,
        other_calls=(planner,),
        started_at=at,
        finished_at=end if finished else None,
        scripted=scripted,
    )


def make_events(run: Run) -> list[Event]:
    """What a watcher would have seen of the run."""
    events = [Event(run_id=run.id, kind="run.started", at=run.started_at or START, issue_id=run.issue.id)]
    for result in run.results:
        for attempt in result.attempts:
            at = attempt.started_at or START
            events.append(Event(run_id=run.id, kind="task.started", at=at, phase="execute", task_id=result.task_id,
                                data={"tier": attempt.tier, "worker": attempt.worker}))  # fmt: skip
            end = at + timedelta(seconds=attempt.seconds)
            events.append(Event(run_id=run.id, kind="task.attempt", at=end, phase="execute", task_id=result.task_id,
                                data={"outcome": attempt.outcome, "tier": attempt.tier}))  # fmt: skip
        events.append(Event(run_id=run.id, kind="task.finished", at=end, phase="execute", task_id=result.task_id,
                            data={"status": result.status}))  # fmt: skip
    return sorted(events, key=lambda event: event.at)


def _plan(random_: random.Random, count: int) -> Plan:
    tasks: list[Task] = []
    for number in range(count):
        title, path = WORK[number % len(WORK)]
        if number >= len(WORK):
            title, path = f"{title} ({number // len(WORK) + 1})", f"part{number // len(WORK)}/{path}"
        near = [task.id for task in tasks[-5:]]
        depends = (
            tuple(sorted(random_.sample(near, min(len(near), random_.choice((0, 1, 1, 2)))))) if number > 1 else ()
        )
        tasks.append(Task(id=f"t{number + 1}", title=title, instructions=f"Change {path} only.", files=(path,),
                          depends_on=depends, verify=("pytest -q",)))  # fmt: skip
    return Plan(summary="One module per concern, then the wiring, tests and documents.", tasks=tuple(tasks))


def _result(
    random_: random.Random, task_id: str, tier: str, fail_rate: float, begin: datetime, worker: str, for_good: bool
) -> TaskResult:
    ladder = list(RATES)[list(RATES).index(tier) :]
    attempts: list[Attempt] = []
    for name in (name for name in ladder for _ in range(2)):
        failed = for_good or random_.random() < fail_rate
        attempts.append(
            make_attempt(random_, task_id, len(attempts) + 1, name, "failed" if failed else "passed", begin, worker)
        )
        begin += timedelta(seconds=attempts[-1].seconds + 2)
        if not failed:
            break
    done = attempts[-1].outcome == "passed"
    return TaskResult(
        task_id=task_id,
        status="done" if done else "failed",
        summary="Done as asked; all checks pass." if done else "",
        commit="5d6c7b8a990817263544536271809f8e7d6c5b4a" if done else None,
        attempts=tuple(attempts),
        error=None if done else "pytest -q failed on every tier",
    )


def _reviews(random_: random.Random, status: str, plan: Plan) -> tuple[Review, ...]:
    call = ModelCall(
        phase="review", tier="opus", model=model_of("opus"), usage=make_usage(random_, "opus"), seconds=28.0
    )
    findings = (
        Finding(severity="minor", path="src/cache/lru.py", line=41, title="Eviction walks the whole table",
                detail="`min()` over all entries on each insert; an OrderedDict gives the oldest in constant time.",
                task_id=plan.tasks[min(1, len(plan.tasks) - 1)].id),
        Finding(severity="info", path="docs/guide.md", line=12, title="Default of `ttl` is not told",
                out_of_scope=True),
    )  # fmt: skip
    if status == "rejected":
        worse = Finding(severity="critical", path="src/http/client.py", line=88,
                        title="One user gets another's answers", detail="The key leaves out the Authorization header.",
                        task_id=plan.tasks[-1].id)  # fmt: skip
        return (
            Review(
                verdict="reject", summary="The cache leaks between users.", findings=(worse, *findings), calls=(call,)
            ),
        )
    return (Review(verdict="approve", summary="Sound, small, tested. Two remarks.", findings=findings, calls=(call,)),)


def _trace(rule: str) -> tuple[TraceLine, ...]:
    return (
        TraceLine(rule="model-label", matched=False, why="no label model:…"),
        TraceLine(rule="complexity-label", matched=False, why="no label complexity:…"),
        TraceLine(rule="mechanical-verb", matched=False, why="the title starts with 'Cache'"),
        TraceLine(rule="risk-words", matched=False, why="none of security, auth, payment, …"),
        TraceLine(rule=rule, matched=True, why="4 files named in the issue exist in the repository"),
    )
