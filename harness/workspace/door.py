"""A repository, the git directory of ours that leads to it, and the one function that runs git."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from harness.config.reading import environment
from harness.errors import GitError
from harness.proc import Completed, run
from harness.workspace.locks import file_lock

PASSED_ON = ("PATH", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Variables of the user's environment that git sees; all others are ours."""
NETWORK_SECONDS = 300.0
SECONDS = 600.0
"""No git command of ours takes longer on a healthy disk."""


@dataclass(frozen=True)
class At:
    """Where a git command works, when not on the door itself. Always named, never discovered."""

    git_dir: Path
    work_tree: Path | None = None
    index: Path | None = None

    def variables(self) -> dict[str, str]:
        named = {"GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.work_tree, "GIT_INDEX_FILE": self.index}
        return {name: str(path) for name, path in named.items() if path is not None}


@dataclass(frozen=True)
class Door:
    """A repository, and the way in that reads none of its configuration."""

    repo: Path
    """The top of the user's checkout, or the bare repository itself."""
    git_dir: Path
    """The checkout's own git directory: where its HEAD and index are."""
    common: Path
    """The repository's git directory; differs from `git_dir` in a linked worktree."""
    path: Path
    bare: bool
    author: tuple[str, str]
    git: str
    """Absolute path of the program."""
    config: Mapping[str, str]
    """The repository's effective configuration; read, never obeyed."""
    mutex: anyio.Lock = field(default_factory=anyio.Lock)

    async def run(
        self,
        *args: str,
        at: At | None = None,
        stdin: bytes | None = None,
        extra: Mapping[str, str] | None = None,
        ok: Iterable[int] = (0,),
        output_limit: int = 256 * 1024 * 1024,
    ) -> Completed:
        """Run git; raises GitError when its exit code is not in `ok`."""
        at = at or At(self.path)
        done = await run(
            [self.git, *args],
            cwd=at.work_tree or self.path,
            env={**clean_environment(self.path), **at.variables(), **(extra or {})},
            stdin=stdin,
            timeout=SECONDS,
            output_limit=output_limit,
        )
        if done.exit_code not in ok:
            raise failure(args, done)
        return done

    async def text(self, *args: str, **options: object) -> str:
        """What git prints, without the last newline."""
        done = await self.run(*args, **options)  # type: ignore[arg-type]
        return done.stdout.rstrip("\n")

    async def as_user(self, *args: str) -> Completed:
        """Git with the user's own environment and configuration, for remotes only: their keys, credential helpers and
        URLs are theirs to use. Hooks stay off; never raises for an exit code."""
        env = {name: value for name, value in environment().items() if not name.startswith("GIT_")}
        env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_DIR": str(self.git_dir)}
        off = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
        return await run([self.git, *off, *args], cwd=self.path, env=env, timeout=NETWORK_SECONDS)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Alone with the repository's refs and worktrees, in this process and among all that use this door."""
        async with self.mutex, file_lock(self.path / "harness.lock"):
            yield

    def signature(self, when: str | None = None) -> dict[str, str]:
        """Authorship for `commit-tree`: the user's name, or `harness`; `when` as git writes it, `@seconds zone`."""
        name, email = self.author
        given = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_COMMITTER_NAME": name,
                 "GIT_COMMITTER_EMAIL": email}  # fmt: skip
        return given | ({"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when} if when else {})


def clean_environment(home: Path) -> dict[str, str]:
    """An environment in which git reads no configuration but its directory's, and asks nobody anything."""
    outside = environment()
    return {name: outside[name] for name in PASSED_ON if name in outside} | {
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_PAGER": "cat",
    }


def failure(args: Iterable[str], done: Completed) -> GitError:
    """What went wrong, in git's words."""
    command = next((arg for arg in args if not arg.startswith("-")), "")
    if done.timed_out:
        return GitError(f"git {command} did not end within {SECONDS:.0f} seconds", "look at the disk, then try again")
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "")
    return GitError(f"git {command} failed (exit {done.exit_code}): {re.sub('^(fatal|error): ', '', said)[:500]}")
