"""Attempts on a time axis, one lane a worker, as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from harness.markup import Html, tag
from harness.report.parts import duration, tier_class
from harness.types import Attempt, Run

WIDTH, LEFT, LANE, BAR, TOP = 1040, 92, 30, 21, 24
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def timeline(run: Run) -> Html:
    """When each worker worked on what; a failed attempt is pale with a red edge."""
    worked = [
        (attempt, result.task_id, attempt.started_at)
        for result in (*run.superseded, *run.results)
        for attempt in result.attempts
        if attempt.started_at is not None
    ]
    if not worked:
        return tag("p", "No attempt has begun.", class_="quiet")
    begin = min([at for _, _, at in worked] + ([run.started_at] if run.started_at else []))
    total = max(_after(begin, at) + attempt.seconds for attempt, _, at in worked)
    if run.finished_at:
        total = max(total, _after(begin, run.finished_at))
    total = total or 1.0
    lanes, rows = _lanes(worked)
    scale = (WIDTH - LEFT - 6) / total
    height = TOP + len(lanes) * LANE + 4
    bars = [
        _bar(attempt, task_id, LEFT + _after(begin, at) * scale, rows[index], scale)
        for index, (attempt, task_id, at) in enumerate(worked)
    ]
    labels = [
        tag("text", _short(name), x=0, y=TOP + row * LANE + 19, class_="label")
        for row, name in enumerate(lanes)
        if not row or lanes[row - 1] != name
    ]
    return tag(
        "svg", _ticks(total, scale, height), labels, bars, class_="lanes", viewBox=f"0 0 {WIDTH} {height}", role="img",
        aria_label=f"attempts of {len(set(lanes))} workers over {duration(total)}",
    )  # fmt: skip


def most_at_once(attempts: Sequence[Attempt]) -> int:
    """How many attempts were under way at the same time, at most."""
    begun = [(attempt.started_at, 1) for attempt in attempts if attempt.started_at]
    ended = [
        (attempt.started_at + timedelta(seconds=attempt.seconds), -1) for attempt in attempts if attempt.started_at
    ]
    now = most = 0
    for _, change in sorted(begun + ended):
        now += change
        most = max(most, now)
    return most


Worked = tuple[Attempt, str, datetime]
"""An attempt, its task, when it began."""


def _lanes(worked: Sequence[Worked]) -> tuple[list[str], list[int]]:
    """Lanes by their worker's name, as many for each as it had attempts at once; and each attempt's lane."""
    ends: dict[str, list[datetime]] = defaultdict(list)
    taken: dict[int, tuple[str, int]] = {}
    for index in sorted(range(len(worked)), key=lambda index: worked[index][2]):
        attempt, _, at = worked[index]
        own = ends[attempt.worker or "worker"]
        free = next((lane for lane, end in enumerate(own) if end <= at + timedelta(seconds=0.05)), len(own))
        own[free : free + 1] = [at + timedelta(seconds=attempt.seconds)]
        taken[index] = (attempt.worker or "worker", free)
    order = [(name, lane) for name in sorted(ends, key=_natural) for lane in range(len(ends[name]))]
    return [name for name, _ in order], [order.index(taken[index]) for index in range(len(worked))]


def _bar(attempt: Attempt, task_id: str, x: float, row: int, scale: float) -> list[Html]:
    width = max(2.0, attempt.seconds * scale)
    y = TOP + row * LANE + (LANE - BAR) / 2
    lost = "" if attempt.outcome == "passed" else " lost"
    tip = f"{task_id}, attempt {attempt.number} at {attempt.tier}: {attempt.outcome}, {duration(attempt.seconds)}"
    bar = tag(
        "rect", tag("title", tip), x=f"{x:.1f}", y=y, width=f"{width:.1f}", height=BAR, rx=4,
        class_=f"bar {tier_class(attempt.tier)}{lost}",
    )  # fmt: skip
    if width < 8 * len(task_id) + 8:
        return [bar]
    return [bar, tag("text", task_id, x=f"{x + 7:.1f}", y=y + 15, class_="in")]


def _ticks(total: float, scale: float, height: float) -> list[Html]:
    step = next((step for step in _STEPS if total / step <= 9), 2 * _STEPS[-1])
    ticks: list[Html] = []
    at = 0
    while at <= total:
        x = f"{LEFT + at * scale:.1f}"
        ticks.append(tag("line", x1=x, x2=x, y1=TOP - 5, y2=height, class_="tick"))
        ticks.append(tag("text", _clock(at), x=x, y=11, class_="label", text_anchor="start" if not at else "middle"))
        at += step
    return ticks


def _clock(seconds: int) -> str:
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d}"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d} h"


def _after(begin: datetime, at: datetime) -> float:
    return (at - begin).total_seconds()


def _short(name: str) -> str:
    return name if len(name) <= 13 else "…" + name[-12:]


def _natural(name: str) -> tuple[int, str]:
    return len(name), name
