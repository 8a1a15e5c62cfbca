"""A turn of an executor, told to whoever watches: the live table, logs and the runs page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from harness.protocols import Session
from harness.redact import redact
from harness.types import Event, Usage


def tell_turn(session: Session, turn: int, model: str, tools: Iterable[str], usage: Usage | None = None) -> None:
    """Emit `task.turn`: which model used which tools, redacted, and what the turn cost where that is known."""
    job = session.job
    data: dict[str, Any] = {
        "turn": turn,
        "attempt": session.number,
        "tier": session.pool.tier,
        "model": model,
        "tools": [redact(tool) for tool in tools],
    }
    if usage is not None:
        told = usage.model_dump(mode="json", exclude_defaults=True)
        data |= {"usd": str(usage.cost_usd), "tokens": usage.tokens, "usage": told}
    session.emit(
        Event(
            run_id=job.run_id,
            kind="task.turn",
            at=datetime.now(UTC),
            issue_id=job.issue_id,
            phase="execute",
            task_id=job.task.id,
            data=data,
        )
    )
