"""`harness forget` and `--no-content`: no byte of what was said is left in any file of ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from harness.config.settings import Settings
from tests.fakes.places import git, place, row, writes

SAID = ("ZEBRA", "GIRAFFE", "OCELOT")
"""In the issue's text, in a model's command, in a model's summary."""


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    work = writes("p-1")
    work["turns"][0]["tools"][0]["input"]["command"] = "echo GIRAFFE >> p-1.txt"
    work["turns"][1]["tools"][0]["input"]["summary"] = "OCELOT"
    return place(tmp_path / "p", [row("p-1", description="ZEBRA")], [work])


def stored(settings: Settings) -> set[str]:
    """Which of the words stand in a file below the state folder, free pages and write-ahead logs included."""
    files = [path.read_bytes() for path in settings.state.rglob("*") if path.is_file()]
    return {word for word in SAID if any(word.encode() in data for data in files)}


def test_a_forgotten_run_leaves_nothing(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(project.root)
    assert main(["run", "p-1", "-C", folder]) == 0
    assert stored(project) == set(SAID), "otherwise this test shows nothing"
    capsys.readouterr()
    assert main(["forget", "p-1-r1", "--branches", "--json", "-C", folder]) == 0
    assert stored(project) == set()
    branches = json.loads(capsys.readouterr().out)["branches"]
    assert branches and all(name.startswith("harness/p-1-r1/") for name in branches)
    assert git(project.root, "branch", "--format=%(refname:short)").split() == ["harness/p-1", "main"], "the work stays"
    everywhere = subprocess.run(  # noqa: TID251 - the user's grep
        ["grep", "-rl", "GIRAFFE", str(project.root / ".harness"), str(project.root / ".git" / "logs")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert everywhere.stdout == ""


def test_without_branches_the_work_stays(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p-1", "-C", str(project.root)]) == 0
    assert main(["forget", "p-1-r1", "-C", str(project.root)]) == 0
    assert "--branches deletes them" in capsys.readouterr().out
    assert "harness/p-1-r1/work" in git(project.root, "branch", "--format=%(refname:short)").split()


def test_no_content(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p-1", "--no-content", "-C", str(project.root)]) == 0
    assert stored(project) == set()
    capsys.readouterr()
    assert main(["show", "p-1-r1", "-C", str(project.root)]) == 0
    assert "done" in capsys.readouterr().out, "its figures are kept"
