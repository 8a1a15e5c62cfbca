"""Every way to confine programs that works here; a missing bubblewrap is a skip with a reason, and a failure in CI."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from harness.config.settings import SandboxSettings
from harness.proc import Completed, run
from harness.sandbox import Sandbox, detect

Do = Callable[..., Awaitable[Completed]]
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@pytest.fixture(params=[pytest.param("bubblewrap", marks=pytest.mark.needs_bwrap), "landlock"])
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return await detect(SandboxSettings(mode=request.param, processes=150, file_mb=4))


@pytest.fixture
async def worktree(tmp_path: Path) -> Path:
    """A linked worktree of a repository that has hooks and a credential in its configuration."""
    repo = tmp_path / "repo"
    for command in (
        f"git init -q -b main {repo}",
        f"git -C {repo} commit -q --allow-empty -m First",
        f"git -C {repo} config http.extraHeader Authorization:hunter2",
        f"git -C {repo} worktree add -q --detach {tmp_path}/tree",
    ):
        done = await run(command.split(), env=GIT)
        assert done.ok, done.output
    (tmp_path / "tree" / "inside.txt").write_text("inside\n")
    return tmp_path / "tree"


@pytest.fixture
def do(sandbox: Sandbox, worktree: Path) -> Do:
    async def command(text: str, timeout: float = 15, **more: object) -> Completed:
        return await sandbox.run(text, worktree, timeout, **more)  # type: ignore[arg-type]

    return command


def alive(marker: str) -> list[int]:
    """Processes with this word in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", folder.name):
            try:
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


async def gone(marker: str) -> bool:
    """Whether no such process is left; a killed one needs a moment to be."""
    with anyio.move_on_after(3):
        while alive(marker):
            await anyio.sleep(0.02)
        return True
    return False
