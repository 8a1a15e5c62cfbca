"""Real Beads databases, of both generations, and a JSON Lines file, each fresh for every test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.settings import Settings, TrackerSettings
from harness.protocols import Tracker
from harness.trackers.beads import BeadsTracker
from harness.trackers.jsonl import JsonlTracker

GENERATIONS = {"bd-1": "bd", "bd-0": "bd-0.47"}
"""Test id → the program; the older generation is tested where it is installed under that name."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A repository with an empty Beads database, made once for each generation."""
    made: dict[str, Path] = {}

    def make(program: str) -> Path:
        if program not in made:
            repo = tmp_path_factory.mktemp("beads") / "repo"
            repo.mkdir()
            subprocess.check_call(["git", "init", "-q", str(repo)])
            subprocess.check_output(
                [program, "init", "--prefix=tt", "--quiet", "--skip-hooks"],
                cwd=repo, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            )  # fmt: skip
            made[program] = repo
        return made[program]

    return make


@pytest.fixture
def with_bd(
    request: pytest.FixtureRequest, template: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Put one generation on PATH as `bd`; returns a repository with an empty database of its."""

    def make(generation: str) -> Path:
        program = shutil.which(GENERATIONS[generation])
        if program is None:
            pytest.skip(f"needs {GENERATIONS[generation]}")
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "bd").symlink_to(program)
        monkeypatch.setenv("PATH", str(tools), prepend=":")
        monkeypatch.setenv("BEADS_NO_DAEMON", "1")
        monkeypatch.setenv("BD_NON_INTERACTIVE", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        return Path(shutil.copytree(template(program), tmp_path / "repo", symlinks=True))

    return make


@pytest.fixture(
    params=["jsonl", pytest.param("bd-1", marks=pytest.mark.needs_bd), pytest.param("bd-0", marks=pytest.mark.needs_bd)]
)
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A repository with an empty tracker of each kind."""
    if request.param == "jsonl":
        (tmp_path / "repo" / ".beads").mkdir(parents=True)
        (tmp_path / "repo" / ".beads" / "issues.jsonl").touch()
        return tmp_path / "repo"
    make: Callable[[str], Path] = request.getfixturevalue("with_bd")
    return make(request.param)


@pytest.fixture
def open_tracker(repo: Path) -> Callable[[], Tracker]:
    """Another tracker over the same issues, as another process would have it."""
    is_file = (repo / ".beads" / "issues.jsonl").exists() and not (repo / ".beads" / "metadata.json").exists()
    settings = Settings(root=repo, tracker=TrackerSettings(kind="jsonl" if is_file else "beads"))
    return lambda: JsonlTracker(settings) if is_file else BeadsTracker(settings)
