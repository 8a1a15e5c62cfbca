"""What happens in a run, in words: a line an event, which begins with the run, so that parallel ones are told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from harness.strangers import one_line, visible
from harness.types import Event


def plain_line(event: Event) -> str | None:
    """One line for an event, which begins with its run; None for those that are only noise to a person."""
    data, task = event.data, event.task_id or ""
    redo = f", redo {data.get('round')}" if data.get("round") else ""
    lines: dict[str, Callable[[], str]] = {
        "run.started": lambda: f"{data.get('title')} [{data.get('pipeline')}, {data.get('tier')}]",
        "plan": lambda: f"plan: {len(data.get('tasks', ()))} task(s)",
        "task.started": lambda: f"{task}: started with {data.get('tier')}{redo}",
        "task.attempt": lambda: (
            f"{task}: attempt {data.get('number')} by {data.get('tier')}: {data.get('outcome')}"
            f" (${_money(data.get('usd'))})"
        ),
        "merge": lambda: f"{task}: {_trouble(data)}; redone on the merged work",
        "review": lambda: (
            f"review {int(data.get('round', 0)) + 1}: {data.get('verdict')}, {data.get('findings')} finding(s)"
        ),
        "land": lambda: f"landing ({data.get('mode')})",
        "outage": lambda: f"{data.get('error')}; asking again in {data.get('again_in')} s",
        "run.finished": lambda: (
            f"{data.get('status')}, ${_money(data.get('usd'))}" + (f" — {data['error']}" if data.get("error") else "")
        ),
    }
    if event.kind == "task.finished" and data.get("status") == "skipped":
        return f"{event.run_id}  {task}: skipped, because {data.get('because')} failed"
    make = lines.get(event.kind)
    return f"{event.run_id}  {visible(one_line(make()))}" if make else None


def _trouble(data: Mapping[str, Any]) -> str:
    """What became of merging a task's work."""
    if data.get("conflict"):
        return f"conflicts in {', '.join(data['conflict'])}"
    beside = f" together with {data['broken_with']}" if data.get("broken_with") else ""
    return f"the merged tree fails verification{beside}"


def _money(text: object) -> str:
    return f"{Decimal(str(text or 0)):.4f}"
