"""GitWorkspace: private worktrees, snapshots, commits and merges of one repository."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from harness.errors import GitError
from harness.proc import Completed
from harness.protocols import Merged
from harness.strangers import harmless
from harness.types import Landing
from harness.workspace.door import At, Door
from harness.workspace.exchange import Exchange
from harness.workspace.finding import cache_folder, open_door
from harness.workspace.landing import land
from harness.workspace.locks import file_lock
from harness.workspace.trees import Worktrees, branch_name

DIFF_BYTES = 4 * 1024 * 1024
"""A longer diff is cut in its middle, and says so."""


class GitWorkspace:
    """One repository's git, as `harness.protocols.Workspace` wants it; `await GitWorkspace.open(path)` makes it."""

    def __init__(self, door: Door, trees: Worktrees) -> None:
        self.repo = door.repo
        self._door, self._trees = door, trees

    @classmethod
    async def open(cls, repo: Path, cache: Path | None = None) -> GitWorkspace:
        """The workspace of the repository around `repo`; worktrees live under `cache`, default the user's.

        Raises MissingTool for no git or one older than 2.38, GitError where no repository can serve.
        """
        door = await open_door(repo, cache)
        return cls(door, Worktrees(door, (cache or cache_folder()) / "worktrees" / door.path.name))

    def exchange(self, remote: str) -> Exchange:
        """The remote through which machines exchange commits; raises GitError when there is none of that name."""
        return Exchange(self._door, remote)

    # ── names and content ─────────────────────────────────────────────────────────────────────────────────────

    async def resolve(self, ref: str) -> str:
        """The commit a name stands for (or the tree, for `NAME^{tree}`); raises GitError."""
        wanted = ref if ref.endswith("}") else f"{ref}^{{commit}}"
        args = ("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
        # HEAD is the user's, not the door's; rev-parse reads and runs nothing.
        found = await self._door.run(*args, at=At(self._door.git_dir), ok=(0, 1, 128))
        if found.ok:
            return found.stdout.strip()
        if ref == "HEAD":
            raise GitError(
                f"{self.repo} has no commit yet", "commit something first: git commit --allow-empty -m 'Begin'"
            )
        raise GitError(f"{self.repo} has no commit '{ref}'", "git branch --all lists the branches")

    async def branch(self) -> str | None:
        """The branch checked out in the user's repository, or None when detached."""
        head = await self._door.run("symbolic-ref", "--quiet", "--short", "HEAD", at=At(self._door.git_dir), ok=(0, 1))
        return head.stdout.strip() or None

    async def files(self, commit: str) -> tuple[str, ...]:
        """Paths tracked at a commit."""
        return _split((await self._door.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)).stdout)

    async def changed(self, base: str, commit: str) -> tuple[str, ...]:
        """Paths that differ; a renamed file's both."""
        return _split(
            (await self._door.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, commit)).stdout
        )

    async def diff(self, base: str, commit: str, paths: Sequence[str] = ()) -> str:
        """A unified diff as text, renames found; binary files are named, and what exceeds `DIFF_BYTES` is cut out of
        the middle with a line that says so."""
        form = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")
        done = await self._door.run(
            "diff-tree", "-r", "-p", "-M", *form, base, commit, "--", *paths, output_limit=DIFF_BYTES
        )
        return done.stdout

    # ── worktrees ─────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def worktree(self, name: str, commit: str) -> AsyncIterator[Path]:
        """A private checkout outside the user's tree, clean at `commit`, gone afterwards.

        The same name is the same folder, so what a crash left behind is found and replaced; while somebody else holds
        the name, this waits.
        """
        async with file_lock(self._trees.lock_of(name), busy=f"worktree '{name}' is in use by another harness process"):
            path = await self._trees.add(name, commit)
            try:
                yield path
            finally:
                with anyio.CancelScope(shield=True):
                    await self._trees.remove(name)

    async def sweep(self) -> list[str]:
        """Remove worktrees that no living process holds; returns their names."""
        return await self._trees.sweep()

    async def snapshot(self, path: Path) -> str:
        """The worktree's present content as a tree object: untracked files, deletions, modes and symlinks included,
        ignored files not. A `.git` below the top is removed first; its files count as content."""
        return await self._trees.snapshot(path)

    async def restore(self, path: Path, tree: str) -> None:
        """Make the worktree's content exactly that tree; ignored files stay."""
        await self._trees.restore(path, tree)

    async def commit(self, path: Path, parent: str, message: str) -> str | None:
        """Commit the worktree's content on top of `parent`; None when nothing changed."""
        tree = await self.snapshot(path)
        if tree == await self._tree(parent):
            return None
        return await self._commit_tree(tree, (parent,), message)

    async def find_step(self, step: str, under: str = "harness/") -> str | None:
        """The newest commit on branches under `under` whose message has the trailer `Harness-Step: <step>`, or None."""
        found = await self._door.text(
            "log", "-1", "--format=%H", "--fixed-strings", f"--grep=Harness-Step: {step}", f"--glob=refs/heads/{under}*"
        )
        return found or None

    # ── merging and landing ───────────────────────────────────────────────────────────────────────────────────

    async def merge(self, ours: str, theirs: str, message: str) -> Merged:
        """Merge two commits in the object store; nobody's checkout is touched.

        The same two commits and message give the same commit id, whenever it is made. Where one contains the other,
        that one is the answer.
        """
        if await self.contains(ours, theirs):
            return Merged(commit=ours)
        if await self.contains(theirs, ours):
            return Merged(commit=theirs)
        done = await self._door.run(
            "merge-tree", "--write-tree", "-z", "--name-only", "--messages", ours, theirs, ok=(0, 1, 128)
        )
        if done.exit_code == 128:
            raise GitError(
                f"cannot merge {theirs[:12]} into {ours[:12]}: {_said(done)}", "do they have a common history?"
            )
        tree, conflicts, sentences = _outcome(done.stdout)
        if done.exit_code == 1 or conflicts:
            return Merged(commit=None, conflicts=conflicts, message="\n".join(sentences))
        dates = (await self._door.text("show", "-s", "--format=%cd", "--date=raw", ours, theirs)).splitlines()
        latest = max(dates, key=lambda date: int(date.split()[0]))
        return Merged(commit=await self._commit_tree(tree, (ours, theirs), message, f"@{latest}"))

    async def contains(self, commit: str, other: str) -> bool:
        """Whether `other` is `commit` or an ancestor of it."""
        done = await self._door.run("merge-base", "--is-ancestor", other, commit, ok=(0, 1))
        return done.exit_code == 0

    async def keep(self, branch: str, commit: str) -> None:
        """Point a branch of ours (`harness/…`) at a commit, so that it is not collected."""
        name = branch_name(branch)
        if not name.startswith("harness/"):
            raise GitError(f"'{branch}' is not a branch of harness", "name it harness/…")
        async with self._door.locked():
            await self._door.run("update-ref", "-m", "harness: keep", f"refs/heads/{name}", commit)

    async def drop(self, under: str) -> list[str]:
        """Delete all branches of ours below `under` (`harness/bd-1-r1`); returns their names; git gc does the rest."""
        folder = branch_name(under)
        if not folder.startswith("harness/"):
            raise GitError(f"'{under}' holds no branches of harness", "name it harness/…")
        async with self._door.locked():
            told = await self._door.text("for-each-ref", "--format=%(refname)", f"refs/heads/{folder}/")
            for ref in told.split():
                await self._door.run("update-ref", "-d", ref)
        return [ref.removeprefix("refs/heads/") for ref in told.split()]

    async def land(self, branch: str, commit: str, into: str | None, mode: str, title: str, body: str) -> Landing:
        """Hand the work to the user as `mode` says; raises GitError and leaves everything as it was."""
        return await land(self._door, self.merge, branch, commit, into, mode, title, body)

    async def _tree(self, commit: str) -> str:
        return await self._door.text("rev-parse", "--verify", f"{commit}^{{tree}}")

    async def _commit_tree(self, tree: str, parents: Sequence[str], message: str, when: str | None = None) -> str:
        args = [argument for parent in parents for argument in ("-p", parent)]
        # Models and strangers write titles; `git log` hands what is in them to the terminal.
        text = harmless(message).encode("utf-8", "replace")
        return await self._door.text(
            "commit-tree", tree, *args, "-F", "-", stdin=text, extra=self._door.signature(when)
        )


def _split(listing: str) -> tuple[str, ...]:
    return tuple(name for name in listing.split("\0") if name)


def _said(done: Completed) -> str:
    return re.sub(r"^(fatal|error|merge-tree): ", "", (done.stderr.strip().splitlines() or ["git says no more"])[0])


def _outcome(listing: str) -> tuple[str, tuple[str, ...], list[str]]:
    """What `merge-tree -z --name-only --messages` prints: the tree, all paths in conflict, git's sentences about them.

    The listing is `tree, path…, "", (count, path…, kind, sentence)…`. Git (2.39 at least) calls some merges clean whose
    own messages say CONFLICT, with conflict markers in the tree: two renames that collide. The messages are believed.
    """
    tree, *fields = listing.split("\0")
    end = fields.index("")
    paths, sentences = fields[:end], []
    at = end + 1
    while at < len(fields) and fields[at]:
        count = int(fields[at])
        named, kind, sentence = fields[at + 1 : at + 1 + count], fields[at + 1 + count], fields[at + 2 + count]
        if kind.startswith("CONFLICT"):
            paths += named
            sentences.append(sentence.strip())
        at += count + 3
    return tree, tuple(dict.fromkeys(paths)), sentences
