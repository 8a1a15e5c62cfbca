"""A unified diff, cut into files and drawn line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.markup import Html, tag

LINES_SHOWN = 400
"""Of one file; the rest is counted, not shown."""
LINES_IN_ALL = 6_000


@dataclass(frozen=True)
class FileDiff:
    path: str
    lines: tuple[str, ...]
    """From the first `@@` on."""
    added: int
    removed: int
    note: str = ""
    """`new file`, `deleted`, `renamed from …`, `binary`."""


def files_of(diff: str) -> list[FileDiff]:
    """The diff's files in their order; at most `LINES_IN_ALL` lines are kept in all."""
    files: list[FileDiff] = []
    left = LINES_IN_ALL
    for block in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE):
        if not block.startswith("diff --git "):
            continue
        head, at, body = block.partition("\n@@")
        lines = ("@@" + body).splitlines() if at else []
        kept = lines[: min(left, LINES_SHOWN)]
        left -= len(kept)
        files.append(
            FileDiff(
                path=_path(head),
                lines=(*kept, *([f"… {len(lines) - len(kept):,} more lines"] if len(kept) < len(lines) else [])),
                added=sum(line.startswith("+") for line in lines),
                removed=sum(line.startswith("-") for line in lines),
                note=_note(head),
            )
        )
    return files


def file_diff(file: FileDiff, open_: bool = False) -> Html:
    """The file's changes, folded under its name."""
    head = tag(
        "summary",
        tag("span", tag("code", file.path), " ", tag("span", file.note, class_="quiet"), class_="grow"),
        tag("span", tag("span", f"+{file.added}", class_="add"), " ", tag("span", f"−{file.removed}", class_="del")),
    )
    return tag(
        "details", head, tag("pre", _lines(file), class_="diff") if file.lines else None, class_="file", open=open_
    )


def _lines(file: FileDiff) -> Iterator[Html]:
    kinds = {"+": "add", "-": "del", "@": "at", "…": "at", "\\": "at"}
    return (tag("span", line or " ", class_=kinds.get(line[:1])) for line in file.lines)


def _path(head: str) -> str:
    named = re.findall(r"^\+\+\+ b/(.*)$|^rename to (.*)$", head, re.MULTILINE)
    if named:
        return str(next(part for part in named[0] if part))
    match = re.match(r"diff --git (?:\"?a/(.*?)\"?) (?:\"?b/)", head)
    return match[1] if match else head.split("\n")[0].removeprefix("diff --git ")


def _note(head: str) -> str:
    renamed = re.search(r"^rename from (.*)$", head, re.MULTILINE)
    if renamed:
        return f"renamed from {renamed[1]}"
    if "\nnew file mode" in head:
        return "new file"
    if "\ndeleted file mode" in head:
        return "deleted"
    return "binary" if "\nBinary files" in head or "\nGIT binary patch" in head else ""
