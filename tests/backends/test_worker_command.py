"""`harness worker` as a user types it wrongly; `test_engine_on_dbos.py` has it at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from tests.backends.conftest import clone, git


@pytest.fixture
def checkout(remote: Path, tmp_path: Path) -> Path:
    return clone(remote, tmp_path / "clone")


def test_without_a_database(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "-C", str(checkout)]) == 2
    assert "export HARNESS_DATABASE_URL=postgresql://" in capsys.readouterr().err


def test_with_a_database_that_is_not_there(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://harness:hunter2@127.0.0.1:1/x"
    assert main(["worker", "-C", str(checkout), "--database", url]) == 2
    said = capsys.readouterr().err
    assert "cannot reach the database" in said
    assert "hunter2" not in said
    assert git(checkout, "status", "--porcelain") == ""


def test_without_a_remote(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(checkout, "remote", "remove", "origin")
    assert main(["worker", "-C", str(checkout), "--database", "postgresql://x@127.0.0.1:1/x"]) == 2
    assert "git remote add origin" in capsys.readouterr().err


def test_outside_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "-C", str(tmp_path), "--database", "postgresql://x@127.0.0.1:1/x"]) == 2
    assert "in no git repository" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["worker", "--help"])
    assert "harness worker --database postgresql://" in capsys.readouterr().out
