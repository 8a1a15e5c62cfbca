"""Accepted work handed to the user: a branch, a merge into their branch, or a pull request.

Each either happens whole or raises GitError with everything as it was, and doing it again when it has happened
already does nothing. A checkout is touched only where the landing branch is checked out, clean, and every changed file
is one that git writes by itself.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio.to_thread

from harness.config.reading import environment
from harness.errors import GitError
from harness.proc import run
from harness.protocols import Merged
from harness.types import Landing
from harness.workspace.door import NETWORK_SECONDS, SECONDS, At, Door
from harness.workspace.locks import file_lock
from harness.workspace.trees import branch_name

TRIES = 3
"""How often a merge is made anew because somebody moved the branch meanwhile."""

Merge = Callable[[str, str, str], Awaitable[Merged]]


async def land(
    door: Door, merge: Merge, branch: str, commit: str, into: str | None, mode: str, title: str, body: str
) -> Landing:
    """See `Workspace.land`."""
    name = branch_name(branch)
    if mode == "merge":
        # One after another, so that only somebody else can move the branch meanwhile.
        async with file_lock(door.path / "locks" / "landing.lock", seconds=SECONDS):
            return await _land_merge(door, merge, name, commit, into, title)
    await _put_branch(door, name, commit)
    if mode == "pr":
        return await _land_pr(door, name, commit, into, title, body)
    note = f"look at it: git log {into}..{name}" if into else f"look at it: git log {name}"
    return Landing(mode="branch", branch=name, commit=commit, into=into, note=note)


# ── branch ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _put_branch(door: Door, name: str, commit: str) -> None:
    """Create or move a branch of ours, unless somebody else has moved it since."""
    async with door.locked():
        tip = await _tip(door, f"refs/heads/{name}")
        if tip == commit:
            return
        ours = await _tip(door, _mark(name))
        if tip is not None and tip != ours and not await _is_ancestor(door, tip, commit):
            raise GitError(
                f"branch {name} has commits that harness did not make; it is left as it is",
                f"rename it, then land again: git branch -m {name} {name}-mine",
            )
        for place, checked_out in (await _checkouts(door)).items():
            if checked_out == name:
                raise GitError(f"branch {name} is checked out in {place}", f"git -C {place} switch -")
        await door.run("update-ref", "-m", "harness: land", f"refs/heads/{name}", commit, tip or "")
        await door.run("update-ref", _mark(name), commit)


def _mark(name: str) -> str:
    """Where the branch was put by us: the proof that nobody else has moved it."""
    return f"refs/harness/landed/{name}"


# ── merge ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _land_merge(door: Door, merge: Merge, name: str, commit: str, into: str | None, title: str) -> Landing:
    if into is None:
        raise detached()
    ref = f"refs/heads/{into}"
    for _ in range(TRIES):
        tip = await _tip(door, ref)
        if tip is None:
            raise GitError(f"branch {into} does not exist any more", f"git branch {into} COMMIT, or --land branch")
        if await _is_ancestor(door, commit, tip):
            return Landing(mode="merge", branch=name, commit=tip, into=into)
        merged = await merge(tip, commit, f"Merge {title}")
        if merged.commit is None:
            raise GitError(
                f"{into} has moved, and the work conflicts with it in {', '.join(merged.conflicts[:5])}",
                f"the work is kept: git switch {into} && git merge {commit[:12]}",
            )
        if await _advance(door, into, tip, merged.commit):
            moved = "" if merged.commit == commit else f"{into} had moved; merged on top of it without a conflict"
            return Landing(mode="merge", branch=name, commit=merged.commit, into=into, note=moved)
    raise GitError(
        f"{into} was moved {TRIES} times while harness merged into it", "stop what moves it, then: harness resume RUN"
    )


def detached() -> GitError:
    return GitError("HEAD is detached, so there is no branch to merge into", "git switch BRANCH, or --land branch")


async def _advance(door: Door, into: str, old: str, new: str) -> bool:
    """Move the branch and the checkout it is in, both or neither; False when somebody else moved it first."""
    async with door.locked():
        # First of all: beside another tip than `old`, a clean checkout would look changed.
        if await _tip(door, f"refs/heads/{into}") != old:
            return False
        here = [place for place, checked_out in (await _checkouts(door)).items() if checked_out == into]
        for place in here:
            await _refuse_unless_clean(door, place, into, old, new)
        moved: list[Path] = []
        try:
            for place in here:
                await _check_out(door, place, old, new)
                moved.append(place)
            await _update(door, into, old, new, moved)
        except GitError as error:
            for place in moved:
                await _check_out(door, place, new, old)
            if await _tip(door, f"refs/heads/{into}") != old:
                return False
            raise GitError(f"{into} is left as it was: {error.message}", error.hint) from None
    return True


async def _update(door: Door, into: str, old: str, new: str, moved: list[Path]) -> None:
    """Through the checkout's own git directory where there is one, so that HEAD's reflog tells it too. update-ref runs
    nothing but a hook, and hooks are off."""
    at = At(_git_dir_of(door, moved[0])) if moved else None
    no_hooks = ("-c", "core.hooksPath=/dev/null")
    told = ("-m", "harness: land")
    await door.run(*no_hooks, "update-ref", *told, f"refs/heads/{into}", new, old, at=at, extra=door.signature())


async def _refuse_unless_clean(door: Door, place: Path, into: str, old: str, new: str) -> None:
    cure = f"commit or stash there, then: harness resume RUN; or take the work yourself: git merge {new[:12]}"
    for key, what in (("core.sparsecheckout", "a sparse checkout"), ("core.splitindex", "a split index")):
        if door.config.get(key, "false").lower() not in ("false", "no", "off", "0", ""):
            raise GitError(f"{place} has {into} checked out with {what}, which harness does not touch",
                           f"the work is kept: git merge {new[:12]}")  # fmt: skip
    at = await _on(door, place)
    # Content, not time stamps: refresh first, and let the refresh fail for what has really changed.
    await door.run("update-index", "-q", "--refresh", ok=(0, 1, 128), at=at)
    unstaged = await door.run("diff-files", "--name-only", "-z", at=at)
    staged = await door.run("diff-index", "--cached", "--name-only", "-z", old, at=at)
    names = {name for name in (unstaged.stdout + staged.stdout).split("\0") if name}
    # bd, and harness for it, write the issues' files while the work is done. Where the work changed them as well,
    # read-tree refuses by itself.
    dirty = sorted(name for name in names if not name.startswith(".beads/"))
    if dirty:
        landed = await door.run("diff-index", "--quiet", new, "--", ".", ":(exclude).beads", ok=(0, 1), at=at)
        if landed.ok:
            return  # the files are in place already: a crash came between them and the branch
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        raise GitError(f"{place} has uncommitted changes ({', '.join(dirty[:3])}{more}); nothing was changed", cure)
    await _refuse_filtered(door, place, old, new)


async def _refuse_filtered(door: Door, place: Path, old: str, new: str) -> None:
    """Files with a filter driver (Git LFS, say) are written right only by a program that harness does not run."""
    names = (await door.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)).stdout
    told = await door.run("check-attr", "-z", "--stdin", "filter", at=At(door.path, place), stdin=names.encode())
    fields = told.stdout.split("\0")
    filtered = [
        name for name, value in zip(fields[0::3], fields[2::3], strict=False) if value not in ("unspecified", "unset")
    ]
    if filtered:
        raise GitError(
            f"{filtered[0]} goes through a filter program (.gitattributes); harness runs none in your checkout",
            f"the work is kept: git merge {new[:12]}",
        )


async def _check_out(door: Door, place: Path, old: str, new: str) -> None:
    """Two-way read-tree: all changed files or, where one is in the way, none."""
    await door.run("read-tree", "-m", "-u", "--exclude-per-directory=.gitignore", old, new, at=await _on(door, place))


async def _on(door: Door, place: Path) -> At:
    """The user's files and index, through the door: none of their configuration is read."""
    git_dir = await anyio.to_thread.run_sync(_git_dir_of, door, place)
    return At(door.path, place, git_dir / "index")


# ── pull request ──────────────────────────────────────────────────────────────────────────────────────────────


async def _land_pr(door: Door, name: str, commit: str, into: str | None, title: str, body: str) -> Landing:
    landing = Landing(mode="pr", branch=name, commit=commit, into=into)
    remote = _remote(door, into)
    if remote is None:
        note = f"there is no remote to push to: git remote add origin URL && git push -u origin {name}"
        return landing.model_copy(update={"note": note})
    lease = f"--force-with-lease={name}:{await _tip(door, f'refs/remotes/{remote}/{name}') or ''}"
    pushed = await door.as_user("push", "--no-verify", lease, remote, f"{commit}:refs/heads/{name}")
    if not pushed.ok:
        last = (pushed.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise GitError(
            f"git push to {remote} failed: {last}", f"the work is on branch {name}: git push {remote} {name}"
        )
    gh = shutil.which("gh", path=environment().get("PATH"))
    if gh is None:
        to = f" into {into}" if into else ""
        return landing.model_copy(update={"note": f"pushed to {remote}; open a pull request from {name}{to}"})
    base = ["--base", into] if into else []
    made = await run([gh, "pr", "create", "--head", name, *base, "--title", title, "--body-file", "-"], cwd=door.repo,
                     stdin=body.encode(), timeout=NETWORK_SECONDS)  # fmt: skip
    url = re.search(r"https://\S+", made.stdout if made.ok else made.stderr)
    if made.ok or (url and "already exists" in made.stderr):
        return landing.model_copy(update={"url": url[0] if url else None})
    reason = (made.stderr.strip().splitlines() or ["no reason given"])[0]
    return landing.model_copy(update={"note": f"pushed to {remote}, but gh did not open a pull request: {reason}"})


def _remote(door: Door, into: str | None) -> str | None:
    """The branch's remote, else `origin`, else the only one."""
    remotes = sorted({match[1] for key in door.config if (match := re.fullmatch(r"remote\.(.+)\.url", key))})
    wanted = door.config.get(f"branch.{into}.remote", "origin")
    if wanted in remotes:
        return wanted
    return remotes[0] if len(remotes) == 1 else None


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _tip(door: Door, ref: str) -> str | None:
    found = await door.run("rev-parse", "--verify", "--quiet", ref, ok=(0, 1))
    return found.stdout.strip() or None


async def _is_ancestor(door: Door, commit: str, of: str) -> bool:
    return (await door.run("merge-base", "--is-ancestor", commit, of, ok=(0, 1))).exit_code == 0


async def _checkouts(door: Door) -> dict[Path, str]:
    """The user's checkouts (the main one and linked worktrees) and the branch each is on."""
    listing = await door.text("worktree", "list", "--porcelain", "-z", at=At(door.git_dir))
    found: dict[Path, str] = {}
    for block in listing.split("\0\0"):
        lines = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "branch" in lines and "bare" not in lines:
            found[_checkout_of(door, Path(lines["worktree"]))] = lines["branch"].removeprefix("refs/heads/")
    return {place: branch for place, branch in found.items() if place.is_dir()}


def _checkout_of(door: Door, listed: Path) -> Path:
    """A submodule's git directory is elsewhere, and git lists that one in place of the checkout it belongs to."""
    elsewhere = door.config.get("core.worktree")
    return (listed / elsewhere).resolve() if elsewhere and not (listed / ".git").exists() else listed


def _git_dir_of(door: Door, place: Path) -> Path:
    if place == door.repo:
        return door.git_dir
    marker = place / ".git"
    if marker.is_dir():
        return marker
    return (place / marker.read_text().removeprefix("gitdir:").strip()).resolve()
