"""Lines in colour, for a terminal; loaded only there. Rich leaves the colour out where NO_COLOR asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from harness.strangers import visible

_GOOD = re.compile(r"✓|\bmet\b|\bMET\b|\bsaved \$[\d.]+ \(\d+%\)")
_BAD = re.compile(r"✗|\bmissed\b|\bMISSED\b|\brouting LOST \$[\d.]+")
_OPEN = re.compile(r"~|\bunclear\b|\bUNCLEAR\b")
_BARS = re.compile(r"[▁▂▃▄▅▆▇█]+")


def paint(lines: Iterable[str]) -> None:
    """Print lines on standard output: what is good green, what is bad red, what is open yellow, bars cyan."""
    console = Console(highlight=False)
    for line in lines:
        text = Text(visible(line))
        for pattern, style in ((_GOOD, "green"), (_BAD, "bold red"), (_OPEN, "yellow"), (_BARS, "cyan")):
            text.highlight_regex(pattern, style)
        console.print(text, soft_wrap=True)
