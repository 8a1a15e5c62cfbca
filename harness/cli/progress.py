"""What a person sees while a run works: a live table on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.cli.wording import plain_line
from harness.strangers import one_line, visible
from harness.types import Event

Listener = Callable[[Event], None]
_COLOURS = {"done": "green", "failed": "red", "skipped": "yellow", "working": "cyan"}


@contextmanager
def progress(quiet: bool = False) -> Iterator[Listener]:
    """A listener that shows events as they come; nothing at all when `quiet`."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        board = Board()
        console = Console(stderr=True)
        with Live(get_renderable=board.table, console=console, refresh_per_second=8, transient=True) as live:

            def hear(event: Event) -> None:
                board.hear(event)
                line = plain_line(event)
                if line and event.kind in ("run.started", "run.finished", "review", "land", "merge", "outage"):
                    live.console.print(line, highlight=False, markup=False)

            yield hear
    else:
        yield _plain


def _plain(event: Event) -> None:
    line = plain_line(event)
    if line:
        print(line, file=sys.stderr, flush=True)


@dataclass
class _Row:
    title: str = ""
    state: str = "waiting"
    tier: str = ""
    turns: int = 0
    attempts: int = 0
    usd: Decimal = Decimal(0)


@dataclass
class Board:
    """The live table's content: a row a task, in the order in which they were planned."""

    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        if event.kind == "plan":
            for task in event.data.get("tasks", ()):
                self.rows[event.run_id, task["id"]] = _Row(title=task["title"])
        if event.kind == "run.finished":
            self.rows = {key: row for key, row in self.rows.items() if key[0] != event.run_id}
        if event.task_id is None:
            return
        row = self.rows.setdefault((event.run_id, event.task_id), _Row())
        if event.kind == "task.started":
            row.state, row.tier = "working", str(event.data.get("tier", ""))
        elif event.kind == "task.turn":
            row.turns += 1
        elif event.kind == "task.attempt":
            row.attempts += 1
            row.tier = str(event.data.get("tier", row.tier))
            row.usd += Decimal(str(event.data.get("usd", 0)))
        elif event.kind == "task.finished":
            row.state = str(event.data.get("status", row.state))

    def table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("run", "task", "", "state", "tier", "turns", "attempts", "cost"):
            table.add_column(name, justify="right" if name in ("turns", "attempts", "cost") else "left")
        for (run_id, task_id), row in self.rows.items():
            colour = _COLOURS.get(row.state, "dim")
            # Text, not markup: a title may hold square brackets, and they mean nothing.
            title = Text(visible(one_line(row.title))[:40])
            table.add_row(run_id, Text(task_id), title, Text(row.state, style=colour), row.tier, str(row.turns),
                          str(row.attempts), f"${row.usd:.4f}")  # fmt: skip
        return table
