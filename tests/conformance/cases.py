"""The 262 recorded facts of Plano's behaviour as pytest parameters: input → expected, by kind.

A test module names the kinds it answers for in `KINDS` and takes its parameters from `of(...)`. What does not apply
here stands in `not_applicable.yaml` with its reason; `test_complete.py` fails for a case that is in neither.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[3] / "shared" / "data" / "plano-conformance.json"
WITHOUT = "the recorded cases (../shared/data/plano-conformance.json) are not beside this checkout"


@cache
def everything() -> tuple[dict[str, Any], ...]:
    """All cases; empty where the file is not there."""
    return tuple(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.is_file() else ()


@cache
def not_applicable() -> dict[str, dict[str, str]]:
    """`cases` (by id) and `kinds` that do not apply here, each with its reason."""
    listed = yaml.safe_load((Path(__file__).parent / "not_applicable.yaml").read_text(encoding="utf-8"))
    return {"cases": listed.get("cases") or {}, "kinds": listed.get("kinds") or {}}


def applies(case: dict[str, Any]) -> bool:
    """Whether the case stands on neither list."""
    return case["id"] not in not_applicable()["cases"] and case["kind"] not in not_applicable()["kinds"]


def of(*kinds: str) -> list[Any]:
    """The applicable cases of these kinds, as parameters named by case id; one skipped parameter without the file."""
    if not everything():
        return [pytest.param({}, marks=pytest.mark.skip(reason=WITHOUT), id="no-data")]
    return [pytest.param(case, id=case["id"]) for case in everything() if case["kind"] in kinds and applies(case)]
