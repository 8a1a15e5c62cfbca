"""What every command has in common: where answers go, and how mistakes of the caller are told."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from harness.cli import COMMANDS, main
from harness.cli.options import dollars, since

HARNESS = [sys.executable, "-m", "harness"]


def _error(out: str) -> dict[str, object]:
    document = json.loads(out)
    assert list(document) == ["error"]
    return dict(document["error"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["rout", "--json"],
        ["route", "--title", "x", "--bogus", "--json"],
        ["route", "--title", "x", "--priority", "urgent", "--json"],
        ["experiments", "rate", "--json"],
        ["convoy", "--json"],
    ],
)
def test_bad_options_have_their_document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert _error(out)["hint"]
    assert "usage: harness" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"  harness {name}" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["list", "rate", "export", "run", "evaluate"])
def test_help_of_an_experiment_shows_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["experiments", action, "--help"])
    assert f"  harness experiments {action}" in capsys.readouterr().out


def test_repo_has_to_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--title", "x", "--repo", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["route", "--title", "x", "--repo", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "code"), [("0", 0), ("P1", 0), ("p4", 0), ("5", 2), ("-1", 2), ("high", 2)])
def test_priorities(text: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--title", "x", "--priority", text, "--repo", str(tmp_path)]) == code
    if code:
        assert "write 0 (the most urgent) to 4" in capsys.readouterr().err


def test_types_are_told_from_each_other_whatever_their_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--title", "Fix typo", "--type", "Epic", "--repo", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pipeline"] == "plan-execute-review"


def _shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = script.replace("harness", " ".join(HARNESS))
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)  # noqa: TID251 - a shell


def test_a_closed_input_is_an_empty_one(tmp_path: Path) -> None:
    ended = _shell("harness route --stdin <&-", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_closed_outputs_change_nothing(tmp_path: Path) -> None:
    ended = _shell("harness route --title x <&- >&- 2>&-", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_opened_file_takes_the_number_of_a_closed_output(tmp_path: Path) -> None:
    """A journal opened as number 1 would get whatever is printed."""
    code = "import os, sys; from harness.cli import main; main(['--version']); sys.exit(os.open('f', os.O_CREAT) < 3)"
    closed = 'exec "$0" -c "$1" <&- >&- 2>&-'
    ended = subprocess.run(["sh", "-c", closed, sys.executable, code], cwd=tmp_path)  # noqa: TID251 - as a shell does
    assert ended.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("option", ["", "--json"])
def test_an_answer_that_cannot_be_written_is_an_error(option: str, tmp_path: Path) -> None:
    ended = _shell(f"harness route --title x {option} > /dev/full", tmp_path)
    assert ended.returncode == 2
    assert "free some space" in ended.stderr and "Traceback" not in ended.stderr and "ignored" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["convoy", "deploy", "hq-cv-abc", "--budget-usd", "nan"],
        ["experiments", "run", "--budget-usd", "0"],
        ["experiments", "list", "-n", "-3"],
        ["experiments", "list", "--since", "1e999d"],
        ["experiments", "export", "-o", "records.xml"],
        ["run", "a-1", "--budget-usd", "-1"],
        ["run", "a-1", "--budget-usd", "nan"],
        ["run", "a-1", "--budget-usd", "much"],
        ["run", "a-1", "--budget-usd", "1e999999999"],
        ["run", "a-1", "--max-parallel", "0"],
        ["runs", "-n", "0"],
        ["serve", "--port", "99999"],
        ["work", "--metrics-port", "99999"],
        ["work", "--max-issues", "0"],
        ["serve", "--port", "-1"],
        ["worker", "--parallel", "none"],
    ],
)
def test_numbers_that_cannot_be_are_the_caller_s_mistake(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--repo", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_dollars() -> None:
    assert dollars("$2.50") == dollars("2.50") == Decimal("2.50")


def test_a_period_longer_than_time_is_all_of_it() -> None:
    assert since("1e9d") == 0


@pytest.mark.parametrize("mark", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\r"])
def test_titles_cannot_steer_a_terminal(mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title = f"Fix {mark}typo\nin README"
    assert main(["route", "--title", title, "--label", f"model:{mark}", "--repo", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert mark not in out + err
    assert out.splitlines()[0].endswith("typo in README")
    assert main(["route", "--title", title, "--repo", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["issue"]["title"] == title
