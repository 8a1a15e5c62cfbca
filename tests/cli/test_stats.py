"""`harness stats`, `experiments` and `report` as a user types them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from harness.cli import main
from harness.config.settings import Settings
from harness.journal import SqliteJournal
from harness.outcomes import Outcomes
from harness.report.experiments import record
from tests.fakes.outcomes import make_history
from tests.fakes.runs import make_events, make_run

Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.fixture
def harness(repo: Path, capsys: pytest.CaptureFixture[str]) -> Harness:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "-C", str(repo)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def history(repo: Path) -> Path:
    with Outcomes(repo / ".harness") as store:
        for run, rows in make_history(600):
            store.put(run, rows)
    return repo


@pytest.fixture
async def runs(repo: Path) -> Path:
    settings = Settings(root=repo)
    journal = SqliteJournal(settings.state / "journal.db")
    for seed, status in ((1, "done"), (2, "failed")):
        run = make_run(seed=seed, status=status)
        await journal.save(run)
        for event in make_events(run):
            journal.note(event)
        await record(run, settings)
    await journal.aclose()
    return repo


def test_stats(harness: Harness, history: Path) -> None:
    code, out, _ = harness("stats")
    assert code == 0
    for words in ("Haiku success rate", "≥ 85 %", "Cost savings", "The same work all sonnet", "estimate"):
        assert words in out
    assert any(bar in out for bar in "▁▂▃▄▅▆▇█")
    assert max(map(len, out.splitlines())) <= 80, "readable on a terminal of 80 columns"
    assert "\x1b" not in out, "no colour in a pipe"


def test_stats_on_a_terminal_has_its_verdicts_in_colour(history: Path) -> None:
    leader, follower = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"} | {"NO_COLOR": ""}
    command = [sys.executable, "-m", "harness", "stats", "-C", str(history)]
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        out = b""
        with suppress(OSError):  # a terminal whose last writer is gone
            while chunk := os.read(leader, 65_536):
                out += chunk
        os.close(leader)
    assert process.returncode == 0
    green, red = "\x1b[32m", "\x1b[1;31m"
    assert f"{green}✓" in out.decode() or f"{red}✗" in out.decode()
    assert "Cost savings" in out.decode()


def test_stats_as_json(harness: Harness, history: Path) -> None:
    code, out, err = harness("stats", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    names = ["cheap_success", "quality", "savings", "task_cost", "cheap_share", "routing_accuracy"]
    assert [metric["name"] for metric in told["metrics"]] == names
    assert all({"value", "low", "high", "n", "target", "verdict"} <= set(metric) for metric in told["metrics"])


def test_stats_of_nothing_make_nothing(harness: Harness, repo: Path) -> None:
    code, out, _ = harness("stats")
    assert code == 0 and "No outcomes yet" in out
    assert not (repo / ".harness").exists()


def test_a_bad_period_is_told(harness: Harness) -> None:
    code, _, err = harness("stats", "--since", "yesterday")
    assert code == 2 and "yesterday" in err


def test_what_learned(harness: Harness, history: Path) -> None:
    code, out, _ = harness("stats", "--what-learned")
    assert code == 0
    assert out.index("*  (") < out.index("rule:")
    assert "too few to speak" in out
    rows = json.loads(harness("stats", "--what-learned", "--json")[1])
    root = next(row for row in rows if row["key"] == "*")
    assert root["speaks"] and [tier["tier"] for tier in root["tiers"]] == ["haiku", "sonnet", "opus"]


def test_stats_start_without_pydantic_or_rich() -> None:
    heavy = ("pydantic", "rich", "yaml", "anyio", "networkx")
    script = f"import sys; import harness.cli.stats; print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert said.strip() == "[]"


async def test_list_and_rate(runs: Path, harness: Harness) -> None:
    code, out, _ = await anyio.to_thread.run_sync(lambda: harness("experiments", "list"))
    assert code == 0 and "web-101/t1" in out and "pytest -q: exit 1" in out
    which = next(line.split()[0] for line in out.splitlines() if "web-101/t1" in line)
    code, out, _ = await anyio.to_thread.run_sync(lambda: harness("experiments", "rate", which, "4", "--notes", "fine"))
    assert code == 0 and "rated 4" in out
    listed = json.loads((await anyio.to_thread.run_sync(lambda: harness("experiments", "list", "--json")))[1])
    [rated] = [one for one in listed if one["id"] == which]
    assert (rated["quality_score"], rated["notes"]) == (4, "fine")


def test_rating_what_is_not_there(harness: Harness, history: Path) -> None:
    code, _, err = harness("experiments", "rate", "nope", "4")
    assert code == 2 and "no record, run or issue 'nope'" in err
    code, _, err = harness("experiments", "rate", "h-1", "6")
    assert code == 2 and "choose from 1, 2, 3, 4, 5" in err


def test_export(harness: Harness, history: Path, tmp_path: Path) -> None:
    code, out, err = harness("experiments", "export")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(records) >= 600 and "records" in err
    code, document, _ = harness("experiments", "export", "--json")
    assert json.loads(document) == {"records": [json.loads(line) for line in out.splitlines()]}
    code, _, _ = harness("experiments", "export", "-o", str(tmp_path / "o.csv"))
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0 and len(rows) == len(records)
    assert rows[0]["id"] == records[0]["id"]


def test_a_table_holds_no_formulas(harness: Harness, repo: Path, tmp_path: Path) -> None:
    run = make_run(seed=1, tasks=1, title="=HYPERLINK(1)").grown(plan=None)
    anyio.run(record, run, Settings(root=repo))
    harness("experiments", "export", "-o", str(tmp_path / "o.csv"))
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        assert {row["description"] for row in csv.DictReader(file)} == {"'=HYPERLINK(1)"}


def test_evaluate(harness: Harness, tmp_path: Path) -> None:
    rows = "".join(f"{'rename' if n % 2 else 'redesign'} {n},{n % 2},1\n" for n in range(400))
    (tmp_path / "t.csv").write_text("text,weak_correct,strong_correct\n" + rows, encoding="utf-8")
    code, out, _ = harness("experiments", "evaluate", str(tmp_path / "t.csv"))
    assert code == 0 and "95 % of the strong tier's quality" in out
    told = json.loads(harness("experiments", "evaluate", str(tmp_path / "t.csv"), "--json")[1])
    assert told["values"]["oracle by row"] == pytest.approx(0.95)


async def test_report_of_a_run_and_of_a_period(runs: Path, harness: Harness, tmp_path: Path) -> None:
    code, out, _ = await anyio.to_thread.run_sync(lambda: harness("report", "web-101", "-o", str(tmp_path / "r.html")))
    assert code == 0 and out.strip() == str(tmp_path / "r.html")
    assert "What to do next" in (tmp_path / "r.html").read_text(encoding="utf-8")
    code, out, _ = await anyio.to_thread.run_sync(lambda: harness("report", "--since", "52w", "--json"))
    path = Path(json.loads(out)["path"])
    assert code == 0 and "What routing has come to" in path.read_text(encoding="utf-8")


async def test_report_of_nothing(harness: Harness, runs: Path) -> None:
    code, _, err = await anyio.to_thread.run_sync(lambda: harness("report", "r-00001"))
    assert code == 2 and "did you mean 'r-000001'?" in err
    code, _, err = await anyio.to_thread.run_sync(lambda: harness("report", "r-000001", "--since", "7d"))
    assert code == 2 and "exclude each other" in err


def test_report_without_a_journal(harness: Harness) -> None:
    code, _, err = harness("report")
    assert code == 2 and "no runs in this repository yet" in err
