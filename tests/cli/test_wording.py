"""Lines of several runs at the same time can be told apart."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.cli.working import work
from tests.fakes.places import fails, place, refuses, row, writes

LINE = re.compile(r"\d\d:\d\d:\d\d  (\S+)-r1  (.+)")


async def test_each_line_names_its_run(tmp_path: Path) -> None:
    rows = [row("a"), row("b"), row("c")]
    replies = [refuses("unavailable", "a", times=1), writes("a"), writes("b"), fails("c")]
    queue = {"outage_pause_seconds": 0.2}
    repo = place(tmp_path / "repo", rows, replies, queue=queue, land="merge").root
    code, _, said = await work(repo, "--once", "--parallel", "2")
    assert code == 1
    told = [LINE.fullmatch(line) for line in said.splitlines()]
    assert all(told), said
    lines = [(match[1], match[2]) for match in told if match]
    assert ("a", "Fix typo in a.txt [single, haiku]") in lines and ("b", "landing (merge)") in lines
    outage = "no model of tier 'haiku' could be reached (anthropic/claude-haiku-5-5: the script says so (unavailable))"
    assert ("a", f"{outage}; asking again in 0 s") in lines
    assert Counter(issue for issue, text in lines if text.startswith("work: attempt 1 by haiku: passed")) == {
        "a": 1,
        "b": 1,
    }
    assert any(issue == "c" and text.startswith("failed, $0.") for issue, text in lines)
