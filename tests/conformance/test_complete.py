"""Every recorded case is answered for by a test module or listed with a reason, and the lists hold nothing stale."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.conformance import cases

pytestmark = pytest.mark.skipif(not cases.everything(), reason=cases.WITHOUT)


def answered_for() -> set[str]:
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py") if path.stem != "test_complete")
    return {kind for name in names for kind in importlib.import_module(f"tests.conformance.{name}").KINDS}


def test_no_case_is_forgotten() -> None:
    kinds = answered_for()
    forgotten = [case["id"] for case in cases.everything() if cases.applies(case) and case["kind"] not in kinds]
    assert not forgotten, f"{len(forgotten)} cases have neither a test nor a reason: {forgotten}"


def test_the_list_names_only_cases_that_exist() -> None:
    ids = {case["id"] for case in cases.everything()}
    kinds = {case["kind"] for case in cases.everything()}
    assert not set(cases.not_applicable()["cases"]) - ids
    assert not set(cases.not_applicable()["kinds"]) - kinds
