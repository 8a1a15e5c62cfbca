"""The repository as found, the git directory of ours that leads to it, and the one function that runs git."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from harness.config.reading import environment
from harness.errors import GitError, MissingTool
from harness.proc import Completed, run

OLDEST_GIT = (2, 38)
"""The first with `git merge-tree --write-tree`."""
INSTALL_GIT = "install git 2.38 or newer: https://git-scm.com/downloads"
PASSED_ON = ("PATH", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Variables of the user's environment that git sees; all others are ours."""
HARMLESS = {
    "core.filemode": r"true|false",
    "core.symlinks": r"true|false",
    "core.ignorecase": r"true|false",
    "core.precomposeunicode": r"true|false",
    "core.autocrlf": r"true|false|input",
    "core.eol": r"lf|crlf|native",
    "core.sharedrepository": r"\w+",
    "core.repositoryformatversion": r"[01]",
    "extensions.objectformat": r"sha1|sha256",
}
"""Configuration that a repository may bring along, with what it may say. None of it runs a program."""
OURS = """[core]
	bare = true
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	quotePath = false
	logAllRefUpdates = true
[gc]
	auto = 0
[maintenance]
	auto = false
[commit]
	gpgSign = false
[diff]
	ignoreSubmodules = dirty
[advice]
	addEmbeddedRepo = false
"""
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


@asynccontextmanager
async def file_lock(path: Path, busy: str = "", seconds: float = 120.0) -> AsyncIterator[None]:
    """Hold an advisory lock on a file, which is gone afterwards; a process that dies lets go of it.

    Raises GitError with the message `busy` when somebody else still holds it after `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up, pause = anyio.current_time() + seconds, 0.002
    while (handle := try_lock(path)) is None:
        if anyio.current_time() > give_up:
            raise GitError(busy or f"{path} is held by another harness process", "wait for it, or end it")
        await anyio.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    try:
        yield
    finally:
        let_go(path, handle)


def try_lock(path: Path) -> int | None:
    """An open file with the lock on it, or None when somebody else holds it; closing it lets go."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have deleted the file between our opening and locking it: that lock keeps nobody out.
        if os.fstat(handle).st_ino == os.stat(path).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def let_go(path: Path, handle: int) -> None:
    """Delete a lock's file and close it, in this order: whoever locked it meanwhile sees that it is gone."""
    path.unlink(missing_ok=True)
    os.close(handle)


# ── finding the repository ────────────────────────────────────────────────────────────────────────────────────


async def open_door(start: Path, cache: Path | None = None) -> Door:
    """The door of the repository around `start`; made when there is none, its configuration renewed.

    Raises MissingTool for no git or one that is too old, GitError where there is no repository that can serve.
    """
    _need_folder(start)
    git = shutil.which("git", path=environment().get("PATH"))
    if git is None:
        raise MissingTool("git is not installed", INSTALL_GIT)
    await check_version(git)
    # The user's own environment, because safe.directory and the author's name are in the user's configuration; these
    # commands only read, and run no program that it names.
    env = {name: value for name, value in environment().items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}

    async def ask(*args: str) -> Completed:
        return await run([git, *args], cwd=start, env=env, timeout=60)

    found = await ask(
        "rev-parse", "--is-bare-repository", "--absolute-git-dir", "--path-format=absolute", "--git-common-dir"
    )
    if not found.ok:
        if "dubious ownership" in found.stderr:
            cure = f"if you trust it: git config --global --add safe.directory {start}"
            raise GitError(f"{start} belongs to somebody else", cure)
        raise GitError(f"{start} is in no git repository", "git init, then commit something")
    bare, git_dir, common = found.stdout.splitlines()
    top = await ask("rev-parse", "--show-toplevel") if bare == "false" else None
    if top is not None and not top.ok:
        raise GitError(f"{start} is inside a .git folder", "go to the checkout")
    config = _parsed((await ask("config", "--list", "-z")).stdout)
    _refuse_unsupported(start, config)
    repo = Path(top.stdout.rstrip("\n")) if top is not None else Path(git_dir)
    author = (config.get("user.name") or "harness", config.get("user.email") or "harness@localhost")
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', repo.name)[:40]}-{hashlib.sha256(common.encode()).hexdigest()[:12]}"
    path = (cache or cache_folder()) / "git" / name
    door = Door(repo, Path(git_dir), Path(common), path, bare == "true", author, git, config)
    async with file_lock(path / "harness.lock"):
        _furnish(door)
    return door


async def check_version(git: str) -> tuple[int, int]:
    """Git's version; raises MissingTool when it is older than `OLDEST_GIT`."""
    said = (await run([git, "--version"], timeout=60)).stdout
    match = re.search(r"(\d+)\.(\d+)", said)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < OLDEST_GIT:
        raise MissingTool(
            f"{said.strip() or git} is too old; harness needs 2.38 for merges without a checkout", INSTALL_GIT
        )
    return version


def _need_folder(path: Path) -> None:
    if not path.is_dir():
        raise GitError(f"{path}: no such folder")


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/harness`, or `~/.cache/harness`."""
    given = environment().get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "harness"


def _parsed(listing: str) -> dict[str, str]:
    """`git config --list -z` → key to last value; a key without one is true."""
    pairs = (entry.partition("\n") for entry in listing.split("\0") if entry)
    return {key: value if newline else "true" for key, newline, value in pairs}


def _refuse_unsupported(start: Path, config: Mapping[str, str]) -> None:
    if config.get("extensions.refstorage", "files") != "files":
        raise GitError(f"{start} stores its refs as {config['extensions.refstorage']}, which harness cannot share yet",
                       "git refs migrate --ref-format=files")  # fmt: skip
    if "extensions.partialclone" in config:
        raise GitError(
            f"{start} is a partial clone: objects are missing and would have to be fetched while working",
            "make it whole: git fetch --refetch --no-filter && git config --unset extensions.partialClone",
        )


def _furnish(door: Door) -> None:
    path, common = door.path, door.common
    for folder in ("logs", "info", "worktrees", "locks"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    for name in ("objects", "refs", "logs/refs", "packed-refs", "shallow", "info/exclude"):
        link, target = path / name, common / name
        if not (link.is_symlink() and os.readlink(link) == str(target)):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    (common / "logs" / "refs").mkdir(parents=True, exist_ok=True)
    _write(path / "HEAD", "ref: refs/heads/harness-has-no-head\n")
    _write(path / "config", OURS + _allowed(door.config))


def _allowed(config: Mapping[str, str]) -> str:
    lines = []
    for key, pattern in HARMLESS.items():
        value = config.get(key, "")
        if re.fullmatch(pattern, value):
            section, _, name = key.partition(".")
            lines.append(f"[{section}]\n\t{name} = {value}\n")
    return "".join(lines)


def _write(path: Path, text: str) -> None:
    """Only when it differs, and whole or not at all: other processes read it meanwhile."""
    if path.is_file() and path.read_text() == text:
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
