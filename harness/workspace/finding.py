"""The repository around a folder, judged, and its door, furnished."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.config.reading import environment
from harness.errors import GitError, MissingTool
from harness.proc import Completed, run
from harness.workspace.door import Door
from harness.workspace.locks import file_lock

OLDEST_GIT = (2, 38)
"""The first with `git merge-tree --write-tree`."""
INSTALL_GIT = "install git 2.38 or newer: https://git-scm.com/downloads"
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
