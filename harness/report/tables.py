"""Tables of what a weak and a strong model made of the same queries, from CSV, JSON Lines or an export of ours.

Columns: `text`, `weak_correct`, `strong_correct` and, where known, `weak_cost`, `strong_cost`, `pattern`, `parent`. An
export of `harness experiments export` is read too: side-by-side experiments give both answers for one issue.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.routing.evidence import ROOT, leading_word

WEAK_NAMES = ("haiku",)


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
    if path.suffix == ".csv":
        records: list[tuple[int, Mapping[str, Any]]] = list(enumerate(csv.DictReader(text.splitlines()), 2))
    else:
        records = [
            (number, _json(path, number, line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()
        ]
    if records and "model_used" in records[0][1]:
        return paired([record for _, record in records])
    return [_row(path, number, record) for number, record in records]


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


def _row(path: Path, number: int, record: Mapping[str, Any]) -> Row:
    def figure(name: str, otherwise: float | None = None) -> float:
        value = record.get(name)
        if value in (None, ""):
            if otherwise is None:
                known = ", ".join(map(str, record))
                raise HarnessError(f"{path}: line {number}: column '{name}' is missing", f"there are: {known}")
            return otherwise
        words = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
        try:
            return words[str(value).lower()] if str(value).lower() in words else float(value)
        except (TypeError, ValueError):
            raise HarnessError(f"{path}: line {number}: {name}: {value!r} is no number") from None

    return Row(
        text=str(record.get("text") or ""),
        weak=figure("weak_correct"),
        strong=figure("strong_correct"),
        weak_cost=figure("weak_cost", 1.0),
        strong_cost=figure("strong_cost", 10.0),
        pattern=str(record.get("pattern") or ""),
        parent=str(record.get("parent") or ""),
    )


def _json(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}: line {number}: is not JSON: {error.msg}") from None
    if not isinstance(record, dict):
        raise HarnessError(f"{path}: line {number}: expected an object of columns")
    return record
