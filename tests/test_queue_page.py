"""The operator's page of the queue: every row of its failure table names a test that is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.tools import settings_page

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "queue.md"
HEAD = "| What happened |"


def rows() -> list[list[str]]:
    """The failure table's cells, row by row."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(HEAD)) + 2
    table = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return table


def test_there_are_rows_and_each_is_whole() -> None:
    assert len(rows()) > 20
    assert [row for row in rows() if len(row) != 5 or not all(row)] == []


@pytest.mark.parametrize("named", [row[-1].strip(" `|") for row in rows()])
def test_a_row_names_a_test_that_is_there(named: str) -> None:
    file, _, name = named.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_settings_that_the_page_speaks_of_are_settings() -> None:
    known = settings_page.page()
    text = PAGE.read_text(encoding="utf-8")
    spoken = {word for word in text.replace("`", " ").split() if word.startswith("queue.")}
    assert spoken and [word for word in spoken if f"`{word.rstrip('.,:;)')}`" not in known] == []
