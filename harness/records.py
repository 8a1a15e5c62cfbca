"""The records of past work: an attempt, a run, and the sums that evidence is counted in. Standard library only.

Money is kept in whole nano-dollars: exact for every published price per token, and SQLite can add it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

NANO = Decimal(1_000_000_000)
DAY = 86_400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt at one task. Times are Unix seconds, money nano-dollars, flags 0 or 1."""

    id: str
    run_id: str
    issue_id: str
    task_id: str
    round: int
    attempt: int
    at: int
    tier: str
    rank: int
    """Of the tier among the configured ones; 0 is the cheapest."""
    model: str
    strategy: str
    rule: str
    confidence: float
    propensity: float
    outcome: str
    verified: int
    landed: int
    success: int
    """Verified, and accepted with the whole run; not what the model said of itself. In an experiment nothing lands."""
    counts: int
    """Whether it says something of the model: 0 for work cut short by a budget, a cancellation or another task."""
    starts: int
    """1: the task's first attempt."""
    escalates: int
    """1 on a task's first attempt when a stronger tier had to be asked later."""
    escalated: int
    """1: a weaker tier had tried before."""
    ends: int
    """1: the task's last attempt at this tier in this round; `stay_nusd` then holds what all of them cost."""
    stay_nusd: int
    cost_nusd: int
    unpriced: int
    """Requests whose price is unknown."""
    seconds: float
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    quality: float | None
    """1 to 5, from the review's verdict."""
    scripted: int
    experiment: int
    keys: tuple[str, ...] = ()
    """Evidence keys, general to special."""
    description: str = ""
    notes: str = ""
    rating: int | None = None
    """1 to 5, from a person; it stands above `quality`."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """One run's money, in nano-dollars; None is unknown."""

    run_id: str
    issue_id: str
    at: int
    status: str
    landed: int
    scripted: int
    experiment: int
    tasks: int
    cost_nusd: int
    planning_nusd: int
    review_nusd: int
    redone_nusd: int
    unpriced: int
    baseline_tier: str
    baseline_nusd: int | None
    strong_tier: str
    strong_nusd: int | None
    seconds: float
    total_input: int
    cache_read: int
    explored_nusd: int = 0
    """What exploring was expected to cost beyond the best known tier."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """What one evidence key knows of one tier on one day (or over many: they add up)."""

    key: str
    tier: str
    day: int
    rank: int
    attempts: int = 0
    starts: int = 0
    escalates: int = 0
    stays: int = 0
    """Tasks that began at this tier and whose end there counts."""
    solved: int = 0
    stay_nusd: int = 0
    late_stays: int = 0
    """The same for tasks that came from a weaker tier: they are the harder ones."""
    late_solved: int = 0
    late_nusd: int = 0
    cost_nusd: int = 0
    rated: int = 0
    quality: float = 0.0
    quality_squared: float = 0.0
    first_solved: int = 0
    """Tasks solved by their very first attempt."""


SUMMED = tuple(field.name for field in fields(Sum))[4:]
OUTCOME_FIELDS = tuple(field.name for field in fields(Outcome))
RUN_FIELDS = tuple(field.name for field in fields(RunOutcome))


def outcome_id(run_id: str, task_id: str, round_: int, attempt: int) -> str:
    """Ten hexadecimal digits that name an attempt, the same whenever it is recorded."""
    return sha256(f"{run_id}/{task_id}/{round_}/{attempt}".encode()).hexdigest()[:10]


def nano(usd: Decimal) -> int:
    """Dollars in whole nano-dollars."""
    return int((usd * NANO).to_integral_value())


def usd(nanos: int) -> Decimal:
    """Nano-dollars in dollars."""
    return Decimal(nanos) / NANO


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """A record as it is exported: money in dollars, flags as true and false, ids spelt out."""
    data = asdict(outcome)
    for name in ("verified", "landed", "success", "counts", "escalated", "scripted", "experiment"):
        data[name] = bool(data[name])
    cost = float(usd(data.pop("cost_nusd")))
    for inner in ("stay_nusd", "starts", "escalates", "ends", "rank"):
        del data[inner]
    data["keys"] = list(outcome.keys)
    data["at"] = datetime.fromtimestamp(outcome.at, UTC).isoformat()
    data["model_used"] = data.pop("model")
    return data | {"cost_usd": cost, "quality_score": outcome.rating if outcome.rating is not None else outcome.quality}


def summed(outcome: Outcome) -> tuple[float, ...]:
    """What one attempt adds to a sum, in the order of `SUMMED`."""
    stays = outcome.ends and outcome.counts
    late = outcome.escalated
    quality = outcome.rating if outcome.rating is not None else outcome.quality
    return (
        1,
        outcome.starts,
        outcome.escalates,
        int(stays and not late),
        int(stays and not late and outcome.success),
        outcome.stay_nusd if stays and not late else 0,
        int(stays and late),
        int(stays and late and outcome.success),
        outcome.stay_nusd if stays and late else 0,
        outcome.cost_nusd,
        0 if quality is None else 1,
        quality or 0.0,
        (quality or 0.0) ** 2,
        int(outcome.starts and outcome.success),
    )
