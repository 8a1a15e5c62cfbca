"""`harness init`: what it writes, what it finds, and that it can be taken away without a trace."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.init import guess_verify


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    subprocess.check_call(["git", "init", "-q", "-b", "main", str(folder)])
    return folder


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file but git's: mode and content."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def test_it_writes_what_it_says(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "go.mod").touch()
    assert main(["init", "-C", str(repo)]) == 0
    said = capsys.readouterr().out
    assert f"wrote {repo / 'harness.yaml'}" in said
    assert "branch main" in said and "go test ./..." in said
    assert (repo / ".harness" / ".gitignore").read_text() == "*\n"
    assert subprocess.check_output(["git", "-C", str(repo), "status", "--short"], text=True).split() == [
        "??", "go.mod", "??", "harness.yaml",
    ]  # fmt: skip


def test_what_is_there_stays(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "harness.yaml").write_text("land: merge\n")
    assert main(["init", "-C", str(repo)]) == 0
    assert (repo / "harness.yaml").read_text() == "land: merge\n"
    assert "as it is" in capsys.readouterr().out
    assert main(["init", "-C", str(repo), "--force"]) == 0
    assert "version: 1" in (repo / "harness.yaml").read_text()


def test_a_broken_file_is_told_and_left(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "harness.yaml").write_text("landd: merge\n")
    assert main(["init", "-C", str(repo)]) == 2
    assert "did you mean 'land'?" in capsys.readouterr().err


def test_json_is_one_document(repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret-secret-secret")
    assert main(["init", "-C", str(repo), "--json"]) == 0
    out = capsys.readouterr().out
    document = json.loads(out)
    assert document["found"]["keys"] == "ANTHROPIC_API_KEY" and "secret" not in out
    assert document["done"] and document["next"]


def test_removing_leaves_no_trace_but_the_journal(repo: Path) -> None:
    hooks = repo / ".beads" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "on_create").write_bytes(b"#!/bin/sh\necho mine \xff\n")
    (hooks / "on_create").chmod(0o750)
    (hooks / "pre-commit").write_text("git's own\n")
    before = tree(repo)
    for _ in range(2):
        assert main(["init", "-C", str(repo), "--hooks"]) == 0
    assert tree(repo).keys() - before.keys() == {
        "harness.yaml", ".harness/.gitignore", ".beads/hooks/on_update", ".beads/hooks/on_create.before-harness",
    }  # fmt: skip
    assert main(["init", "-C", str(repo), "--remove"]) == 0
    after = tree(repo)
    assert after.pop(".harness/.gitignore")
    assert after == before


def test_a_changed_settings_file_is_not_removed(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-C", str(repo)]) == 0
    with (repo / "harness.yaml").open("a") as file:
        file.write("land: merge\n")
    assert main(["init", "-C", str(repo), "--remove"]) == 0
    assert (repo / "harness.yaml").exists() and "it was changed" in capsys.readouterr().out


def test_hooks_need_a_database(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-C", str(repo), "--hooks"]) == 2
    assert "bd init" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, "python -m pytest -q"),
        ({"tests/test_a.py": "import pytest\n"}, "python -m pytest -q"),
        ({"tests/test_a.py": "import unittest\n"}, "python -m unittest discover"),
        ({"package.json": '{"scripts": {"test": "vitest"}}'}, "npm test"),
        ({"package.json": '{"scripts": {"test": "echo no test specified && exit 1"}}'}, None),
        ({"package.json": "broken"}, None),
        ({"go.mod": ""}, "go test ./..."),
        ({"Cargo.toml": ""}, "cargo test"),
        ({"Makefile": "build:\n\ntest: build\n"}, "make test"),
        ({"Makefile": "testing:\n"}, None),
        ({}, None),
    ],
)
def test_the_test_command_is_guessed(tmp_path: Path, files: dict[str, str], command: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert guess_verify(tmp_path) == ((command,) if command else ())


def test_a_bare_repository_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.check_call(["git", "init", "-q", "--bare", str(tmp_path)])
    assert main(["init", "--repo", str(tmp_path)]) == 2
    assert "clone it" in capsys.readouterr().err
    assert not (tmp_path / "harness.yaml").exists() and not (tmp_path / ".harness").exists()


def test_without_git_the_rest_is_set_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert main(["init", "--repo", str(tmp_path), "--json"]) == 0
    assert '"git": "not installed"' in capsys.readouterr().out
