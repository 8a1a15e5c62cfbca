"""Strangers' words, such as titles and errors, made fit for a terminal and for a line."""

from __future__ import annotations

import re

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and new line, and those that turn the direction of writing round."""


def visible(text: str) -> str:
    """The text with marks instead of what a terminal would obey."""
    return _OBEYED.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def harmless(text: str) -> str:
    """The text without what a terminal would obey: for what is kept, and shown by programs of others."""
    return _OBEYED.sub("", text)


def one_line(text: str) -> str:
    """A title as a table or a commit's first line can hold it."""
    return " ".join(text.split())
