"""The console's pages: runs, and one run with its graph, its figures and its log. Pure: values in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote

from harness.drawing import graph
from harness.markup import Html, join, tag
from harness.types import UNFINISHED, Event, Run

MOODS = {
    "done": "good", "failed": "bad", "rejected": "bad", "over_budget": "warn", "interrupted": "warn",
    "cancelled": "none", "running": "busy",
}  # fmt: skip
LOG_SHOWN = 300
_POLICY = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:"


@dataclass(frozen=True)
class Live:
    """What events say of a run that its saved state does not say yet."""

    states: dict[str, str]
    """Task → `running`, `done`, `failed` or `skipped`."""
    tiers: dict[str, str]
    usd: Decimal
    turns: int

    @classmethod
    def of(cls, events: Sequence[Event]) -> Live:
        states: dict[str, str] = {}
        tiers: dict[str, str] = {}
        spent, turns = Decimal(0), 0
        for event in events:
            if event.kind == "task.turn":
                turns += 1
            # An attempt's event sums up its turns; adding both would count them twice.
            if event.kind == "task.attempt":
                spent += Decimal(str(event.data.get("usd") or 0))
            if event.task_id is None:
                continue
            if event.kind in ("task.started", "task.turn"):
                states[event.task_id] = "running"
                tiers[event.task_id] = str(event.data.get("tier") or tiers.get(event.task_id, ""))
            elif event.kind == "task.finished":
                states[event.task_id] = str(event.data.get("status") or "done")
        return cls(states, tiers, spent, turns)


def shell(title: str, body: Html, allowed: bool) -> str:
    """A page of the console; `allowed` says whether this visitor may cancel and resume."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="stylesheet", href="/console/page.css"),
        tag("script", src="/console/console.js", defer=True),
    )
    links = (("runs", "/runs"), ("outcomes", "/outcomes"), ("gateway", "/"))
    places = tag(
        "span", ((" · " if at != "/runs" else "", tag("a", name, href=at)) for name, at in links), class_="quiet"
    )
    top = tag(
        "div",
        tag("span", tag("b", "harness"), " ", places),
        tag("span", id="state", class_="quiet"),
        class_="brand",
    )
    note = None if allowed else tag(
        "p", "Watching only. To cancel or resume, open the link that ", tag("code", "harness serve"), " printed.",
        class_="quiet", style="margin-top:40px;font-size:13px",
    )  # fmt: skip
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", top, body, note)), lang="en")


def runs_page(runs: Sequence[Run]) -> Html:
    return tag("div", tag("h1", "Runs"), tag("div", run_list(runs), id="live", data_watch="/console/events"))


def run_list(runs: Sequence[Run]) -> Html:
    """Those under way first, then the newest."""
    if not runs:
        return tag(
            "div", tag("p", "No runs yet. Start one in a terminal and it appears here:"),
            tag("p", _command("harness run ISSUE"), " or ", _command("harness demo")),
            class_="card",
        )  # fmt: skip
    active = [run for run in runs if run.status == "running"]
    ended = [run for run in runs if run.status != "running"]
    parts: list[Html] = []
    if active:
        parts.append(tag("section", tag("h2", f"Under way ({len(active)})"), [_card(run) for run in active]))
    if ended:
        rows = [
            tag(
                "tr", tag("td", tag("a", run.issue.title, href=_link(run))), tag("td", _pill(run)),
                tag("td", tag("code", run.id)), tag("td", _tiers(run)),
                tag("td", _usd(run.usage.cost_usd), class_="right"),
                tag("td", _when(run.finished_at or run.started_at), class_="right"),
            )
            for run in ended
        ]  # fmt: skip
        heads = tag("tr", (tag("th", head, class_="right" if head in ("cost", "when") else None)
                           for head in ("issue", "", "run", "tiers", "cost", "when")))  # fmt: skip
        table = tag("table", tag("thead", heads), tag("tbody", rows))
        parts.append(tag("section", tag("h2", "Ended"), tag("div", table, class_="card scroll")))
    return join(parts)


def run_page(run: Run, events: Sequence[tuple[int, Event]], allowed: bool, report: bool) -> Html:
    """`report` says whether a full report can be opened."""
    links = tag("a", "Open the full report", href=f"{_link(run)}/report") if report else None
    head = tag(
        "header", tag("h1", run.issue.title, " ", tag("span", run.issue.id, class_="quiet", style="font-weight:400")),
        tag("div", tag("span", "run ", tag("code", run.id)), tag("span", f"pipeline {run.pipeline.name}"),
            tag("span", f"rule {run.route.rule} chose {run.route.tier}"), links, class_="meta"),
    )  # fmt: skip
    live = tag("div", run_state(run, events, allowed), id="live", data_watch=f"/console{_link(run)}/events")
    return tag("div", head, live)


def run_state(run: Run, events: Sequence[tuple[int, Event]], allowed: bool) -> Html:
    """Everything that changes while a run is under way."""
    live = Live.of([event for _, event in events])
    spent = max(run.usage.cost_usd, live.usd)
    states = {**live.states, **{result.task_id: result.status for result in run.results}}
    planned = len(run.plan.tasks) if run.plan else 0
    done = sum(state == "done" for state in states.values())
    busy = sum(state == "running" for state in states.values()) if run.status == "running" else 0
    tiles = (
        ("Status", _pill(run), run.error or ""),
        ("Tasks done", f"{done} of {planned}" if planned else "–", f"{busy} running" if busy else ""),
        ("Cost", _usd(spent), "so far" if run.status == "running" else ""),
        ("Turns", f"{live.turns:,}", "model calls of workers"),
    )
    figures = tag("div", (_figure(*tile) for tile in tiles), class_="figures")
    picture = graph(run, live.states if run.status == "running" else {**live.states, **_stopped(live.states)})
    return join((
        figures, _actions(run, allowed),
        tag("section", tag("h2", "Tasks"), tag("div", picture, class_="card scroll")),
        tag("section", tag("h2", "Log", tag("span", id="filter", class_="quiet")), log(events)),
    ))  # fmt: skip


def log(events: Sequence[tuple[int, Event]]) -> Html:
    """The newest events first; each row names its task, so that one task's can be picked out."""
    if not events:
        return tag("p", "Nothing yet.", class_="quiet")
    rows = [
        tag(
            "tr", tag("td", event.at.strftime("%H:%M:%S"), class_="quiet"), tag("td", event.kind),
            tag("td", tag("code", event.task_id) if event.task_id else event.phase or ""), tag("td", _said(event)),
            data_task=event.task_id, id=f"event-{number}",
        )
        for number, event in reversed(events[-LOG_SHOWN:])
    ]  # fmt: skip
    return tag("div", tag("table", tag("tbody", rows), class_="log"), class_="card scroll")


def _said(event: Event) -> str:
    tools = event.data.get("tools")
    if event.kind == "task.turn" and isinstance(tools, list):
        return (
            f"turn {event.data.get('turn')} at {event.data.get('tier')}: "
            + ("; ".join(map(str, tools)) or "text")[:300]
        )
    shown = (f"{name} {value}" for name, value in event.data.items() if isinstance(value, str | int | float | bool))
    return ", ".join(shown)[:300]


def _card(run: Run) -> Html:
    total = len(run.plan.tasks) if run.plan else 0
    done = sum(result.status == "done" for result in run.results)
    facts = (
        _pill(run),
        tag("code", run.id),
        f"{done} of {total} tasks" if total else "planning",
        _usd(run.usage.cost_usd),
    )
    return tag(
        "a", tag("b", run.issue.title), tag("div", (tag("span", fact) for fact in facts), class_="meta"),
        href=_link(run), class_="card runcard",
    )  # fmt: skip


def _actions(run: Run, allowed: bool) -> Html | None:
    if run.status == "running":
        what, words = "cancel", "Stop after the current steps"
    elif run.status in UNFINISHED:
        what, words = "resume", "Resume"
    else:
        return None
    button = tag(
        "button", words, data_post=f"/console{_link(run)}/{what}", disabled=not allowed, class_=f"action {what}"
    )
    return tag("p", button, tag("span", id="answer", class_="quiet"), style="margin-top:18px")


def _stopped(states: dict[str, str]) -> dict[str, str]:
    return {task: "waiting" for task, state in states.items() if state == "running"}


def _tiers(run: Run) -> Html:
    tiers = dict.fromkeys(attempt.tier for result in run.results for attempt in result.attempts)
    return join((tag("span", tier, class_=f"tiername {tier}"), " ") for tier in tiers)


def _figure(name: str, value: object, aside: str) -> Html:
    return tag(
        "div", tag("div", name, class_="name"), tag("div", value, class_="value"), tag("div", aside, class_="aside"),
        class_="figure",
    )  # fmt: skip


def _pill(run: Run) -> Html:
    return tag("span", run.status.replace("_", " "), class_=f"pill {MOODS[run.status]}")


def _command(text: str) -> Html:
    return tag("code", text, class_="command")


def _link(run: Run) -> str:
    return f"/runs/{quote(run.id, safe='')}"


def _usd(amount: Decimal) -> str:
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def _when(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") if at else "–"
