"""Offline evaluation on logs whose answer is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.report.evaluate import area, evaluate
from harness.report.tables import Row, paired, read_rows
from tests.benchmarks.synthetic import PRICE, make_log, margins


def known_log(rows: int = 2_000, easy: float = 0.6) -> list[Row]:
    """Rows named rename… are always solved by both tiers, rows named redesign… only by the strong one."""
    step = round(1 / (1 - easy), 6)
    hard = {int(number * step) for number in range(int(rows / step) + 1)}
    return [
        Row(f"{'redesign' if number in hard else 'rename'} part {number}", float(number not in hard), 1.0, 1.0, 10.0)
        for number in range(rows)
    ]


def test_a_known_log_is_recovered() -> None:
    rows = known_log()
    hard = sum(1 for row in rows if not row.weak) / len(rows)
    found = evaluate(rows)
    assert found.values["always weak"] == pytest.approx(1 - hard)
    assert found.values["always strong"] == pytest.approx(1 - PRICE)
    assert found.values["oracle by row"] == pytest.approx(1 - hard * PRICE)
    assert found.values["oracle by pattern"] == pytest.approx(found.values["oracle by row"]), "the first word tells all"
    assert found.values["learned"] > found.values["oracle by row"] - 0.02, "and it is learned soon"
    assert found.regret_fixed < -0.04, "far above the better fixed tier"
    # All the hard rows to the strong tier, less the 5 % that may fail.
    share = hard - 0.05
    expected = share + (1 - share) / 10
    assert found.cost_at_95 == pytest.approx(expected, abs=0.03)
    assert found.area > found.area_random + 0.1


def test_where_nothing_can_be_known_it_is_no_better_than_by_lot() -> None:
    random_ = random.Random(3)
    rows = [
        Row(f"w{random_.random()}", float(random_.random() < 0.6), float(random_.random() < 0.8)) for _ in range(4_000)
    ]
    found = evaluate(rows)
    assert found.area == pytest.approx(found.area_random, abs=0.02)


def test_the_synthetic_log_has_the_published_margins() -> None:
    logs = [margins(make_log(seed)) for seed in range(6)]
    means = {name: sum(one[name] for one in logs) / len(logs) for name in logs[0]}
    published = {"always weak": 0.681, "always strong": 0.706, "oracle by pattern": 0.729, "oracle by query": 0.841}
    for name, value in published.items():
        assert means[name] == pytest.approx(value, abs=0.006), name


def test_the_same_log_gives_the_same_answer() -> None:
    assert evaluate(known_log(400)) == evaluate(known_log(400))


def test_too_few_rows() -> None:
    with pytest.raises(HarnessError, match="19 rows"):
        evaluate(known_log(19))


def test_area_of_a_straight_line_is_its_middle() -> None:
    found = evaluate([Row(f"same {n}", 0.5, 1.0) for n in range(100)])
    assert area(found.curve) == pytest.approx(0.75, abs=0.01)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("text,weak_correct,strong_correct,weak_cost,strong_cost\nfix it,1,true,0.5,\n", encoding="utf-8")
    assert read_rows(path) == [Row("fix it", 1.0, 1.0, 0.5, 10.0)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_texts_of_several_lines_and_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "table.txt"
    lines = [("text", "weak_correct", "strong_correct"), ('"fix it\nthen, test; it"', "0", "1"), ("add it", "1", "1")]
    path.write_text("\n".join(delimiter.join(line) for line in lines), encoding="utf-8")
    assert [(row.text, row.weak) for row in read_rows(path)] == [("fix it\nthen, test; it", 0.0), ("add it", 1.0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "text,weak_correct\na,1\n", "line 1: no column 'strong_correct'"),
        ("t.csv", "prompt,weak_correct,strong_correct\na,1,1\n", "line 1: no column 'text'"),
        ("t.csv", "text,weak_correct,strong_correct\na,1\n", "line 2: strong_correct has no value"),
        ("t.csv", "text,weak_correct,strong_correct\na,7,1\n", "line 2: weak_correct: 7 is out of bounds"),
        ("t.csv", "text,weak_correct,strong_correct\na,nan,1\n", "line 2: weak_correct: nan is out of bounds"),
        ("t.csv", "text,weak_correct,strong_correct,weak_cost\na,1,1,-1\n", "weak_cost: -1 is out of bounds"),
        ("t.csv", "text,weak_correct,strong_correct,strong_cost\na,1,1,0\n", "strong_cost is 0 throughout"),
        ("t.csv", "", "is empty"),
        ("t.csv", "text,weak_correct,strong_correct\na,perhaps,1\n", "line 2: weak_correct: 'perhaps' is no number"),
        ("t.jsonl", '{"text": 1}\n{oops\n', "line 2: is not JSON"),
        ("t.jsonl", "[1]\n", "line 1: expected an object"),
    ],
)
def test_bad_tables_are_told_by_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=message):
        read_rows(tmp_path / name)


def test_an_export_of_side_by_side_experiments_is_a_table() -> None:
    def record(issue: str, tier: str, success: bool, cost: float) -> dict[str, object]:
        return {"issue_id": f"{issue}.x-{tier}", "tier": tier, "success": success, "cost_usd": cost, "experiment": True,
                "model_used": tier, "description": f"fix {issue}", "rule": "default"}  # fmt: skip

    made = [record("a", "haiku", False, 0.01), record("a", "sonnet", True, 0.05), record("b", "haiku", True, 0.01)]
    [row] = paired(json.loads(json.dumps(made)))
    assert (row.weak, row.strong, row.weak_cost, row.strong_cost, row.pattern) == (0.0, 1.0, 0.01, 0.05, "default")
    with pytest.raises(HarnessError, match="nothing can be compared"):
        paired(made[2:])
