"""Tables of what a weak and a strong model made of the same queries, from CSV, JSON Lines or an export of ours.

Columns: `text` (or `pattern`), `weak_correct`, `strong_correct` and, where known, `weak_cost`, `strong_cost`,
`pattern`, `parent`. An export of `harness experiments export` is read too: side-by-side experiments give both answers
for one issue.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.routing.evidence import ROOT, leading_word

WEAK_NAMES = ("haiku",)
REQUIRED = ("text", "weak_correct", "strong_correct")
CELL = 16_000_000
"""Characters of the longest text that is read."""


@dataclass(frozen=True)
class Row:
    """One query and what became of it on both tiers (0 to 1); costs in any one unit."""

    text: str
    weak: float
    strong: float
    weak_cost: float = 1.0
    strong_cost: float = 10.0
    pattern: str = ""
    parent: str = ""

    def keys(self) -> tuple[str, ...]:
        """Evidence keys, general to special."""
        special = self.pattern or leading_word(self.text)
        return (
            ROOT,
            *((f"parent:{self.parent}",) if self.parent else ()),
            *((f"pattern:{special}",) if special else ()),
        )


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV or JSON Lines file; raises HarnessError naming file, line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path}: cannot be read: {error}") from None
    first = text.lstrip()[:1]
    if not first:
        raise HarnessError(f"{path}: is empty", f"its columns: {', '.join(REQUIRED)}")
    records = list(_objects(path, text) if first in "{[" else _cells(path, text))
    if records and "model_used" in records[0][1]:
        return paired([record for _, record in records])
    return _rows(path, records)


def paired(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Exported attempts → rows, for every issue that was tried on two tiers side by side."""
    issues: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.get("experiment"):
            issues[str(record["issue_id"]).partition(".x-")[0]][str(record["tier"])].append(record)
    rows = []
    for tiers in issues.values():
        if len(tiers) != 2:
            continue
        spent = {tier: sum(float(one["cost_usd"]) for one in tries) for tier, tries in tiers.items()}
        weak, strong = sorted(tiers, key=lambda tier: (tier not in WEAK_NAMES, spent[tier]))
        solved = {tier: float(any(one["success"] for one in tries)) for tier, tries in tiers.items()}
        one = tiers[weak][0]
        rows.append(
            Row(str(one.get("description", "")), solved[weak], solved[strong], spent[weak], spent[strong],
                str(one.get("rule", "")))
        )  # fmt: skip
    if not rows:
        raise HarnessError(
            "no issue in this export was tried on two tiers, so nothing can be compared",
            "harness experiments run --tiers haiku,sonnet -n 10 makes such pairs",
        )
    return rows


def _rows(path: Path, records: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Row]:
    rows = [_row(path, number, record) for number, record in records]
    if rows and not sum(row.strong_cost for row in rows):
        raise HarnessError(f"{path}: strong_cost is 0 throughout", "give what the calls cost, or leave the column out")
    return rows


def _row(path: Path, number: int, record: Mapping[str, Any]) -> Row:
    def figure(name: str, otherwise: float | None = None, most: float = inf) -> float:
        value = record.get(name)
        if value in (None, ""):
            if otherwise is None:
                raise HarnessError(f"{path}: line {number}: {name} has no value", "give 0 or 1, or leave the line out")
            return otherwise
        words = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
        try:
            found = words[str(value).lower()] if str(value).lower() in words else float(value)
        except (TypeError, ValueError):
            raise HarnessError(f"{path}: line {number}: {name}: {value!r} is no number") from None
        if not 0 <= found <= most or found == inf:
            bounds = f"0 to {most:g}" if most < inf else "0 or more"
            raise HarnessError(f"{path}: line {number}: {name}: {value} is out of bounds", f"it is {bounds}")
        return found

    _complete(path, number, record)
    return Row(
        text=str(record.get("text") or ""),
        weak=figure("weak_correct", most=1.0),
        strong=figure("strong_correct", most=1.0),
        weak_cost=figure("weak_cost", 1.0),
        strong_cost=figure("strong_cost", 10.0),
        pattern=str(record.get("pattern") or ""),
        parent=str(record.get("parent") or ""),
    )


def _complete(path: Path, number: int, record: Mapping[str, Any]) -> None:
    """Raises HarnessError when a column is missing; a pattern stands in for a text."""
    known = [str(name) for name in record if name is not None]
    missing = [name for name in REQUIRED if name not in record and not (name == "text" and "pattern" in record)]
    if missing:
        raise HarnessError(
            f"{path}: line {number}: no column {' and no '.join(map(repr, missing))}",
            f"there are: {', '.join(known)}; needed are: {', '.join(REQUIRED)}",
        )


def _cells(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The lines of a CSV file under its header, whether commas, semicolons or tabs part its cells."""
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    csv.field_size_limit(CELL)
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = reader.fieldnames or ()
        if "model_used" not in names:
            _complete(path, 1, dict.fromkeys(names))
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise HarnessError(f"{path}: line {reader.line_num}: is no CSV: {error}") from None


def _objects(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Not splitlines(): inside a JSON string there may be characters that it takes for ends of lines.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json(path, number, line)


def _json(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}: line {number}: is not JSON: {error.msg}", "one object a line") from None
    if not isinstance(record, dict):
        raise HarnessError(f"{path}: line {number}: expected an object of columns", "one object a line")
    return record
