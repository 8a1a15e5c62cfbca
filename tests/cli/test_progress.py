"""What strangers write into titles does nothing to the terminal of who watches."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from harness.cli.progress import Board
from harness.cli.wording import plain_line
from harness.types import Event


def event(kind: str, task: str | None = None, **data: Any) -> Event:
    return Event(run_id="a-1-r1", issue_id="a-1", kind=kind, at=datetime.now(UTC), task_id=task, data=data)


@pytest.mark.parametrize("title", ["[/foo] fix typo", "[red]fix[/red] typo", "\x1b[31mfix\n typo"])
def test_a_title_is_shown_as_it_is_written_and_obeyed_by_nobody(title: str) -> None:
    board = Board()
    board.hear(event("plan", tasks=[{"id": "t1", "title": title}]))
    board.hear(event("task.started", "t1", tier="haiku"))
    out = io.StringIO()
    Console(file=out, width=100).print(board.table())
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 and "working" in lines[1] and "cyan" not in lines[1] and "typo" in lines[1]
    assert "\x1b" not in lines[1] and title.partition("fix")[0].replace("\x1b", "\\x1b") in lines[1]
    line = plain_line(event("run.started", title=title, pipeline="single", tier="haiku"))
    assert line is not None and line.startswith("a-1-r1  ") and not {"\x1b", "\n"} & set(line)
