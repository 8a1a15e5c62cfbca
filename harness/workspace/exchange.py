"""Commits carried between machines through a git remote, under `refs/harness/` where nobody takes them for branches.

The remote is reached with the user's own git: their keys, credential helpers and URL rewrites are theirs to use. Hooks
stay off. What is fetched is data; nothing of it is checked out or run here.
"""

from __future__ import annotations

import hashlib

from harness.errors import GitError
from harness.proc import Completed
from harness.workspace.door import Door
from harness.workspace.packs import Packs
from harness.workspace.trees import flat_name


class Exchange:
    """A remote (its name or URL) as a place to leave commits and to find them."""

    def __init__(self, door: Door, remote: str) -> None:
        self._door, self.remote = door, remote
        self.packs = Packs(door)
        url = door.config.get(f"remote.{remote}.url")
        if url is None and not any(sign in remote for sign in "/:"):
            raise GitError(
                f"{door.repo} has no remote '{remote}', through which machines exchange commits",
                f"git remote add {remote} URL, or set `exchange:` to a remote's name or URL",
            )
        self.project = hashlib.sha256((url or remote).removesuffix(".git").rstrip("/").encode()).hexdigest()[:10]
        """Names the repository for all who share the remote's URL."""

    @staticmethod
    def ref(run_id: str, *names: str) -> str:
        """A ref of a run: `refs/harness/<run>/<name>…`."""
        return "/".join(["refs/harness", flat_name(run_id), *(flat_name(name) for name in names)])

    async def look(self, ref: str) -> str | None:
        """The commit that a ref on the remote points at, or None."""
        done = self._ok(await self._door.as_user("ls-remote", "--", self.remote, ref), "read from")
        return done.stdout.split()[0] if done.stdout.strip() else None

    async def refs(self, below: str) -> list[str]:
        """Names of the remote's refs below one."""
        done = self._ok(await self._door.as_user("ls-remote", "--", self.remote, f"{below}/*"), "read from")
        return [line.split("\t")[1] for line in done.stdout.splitlines() if "\t" in line]

    async def send(self, commit: str, ref: str, expected: str | None = None) -> bool:
        """Point a ref on the remote at a commit; False when it is not at `expected` (None: absent) any more."""
        done = await self._door.as_user(
            "push",
            "--no-verify",
            "--porcelain",
            f"--force-with-lease={ref}:{expected or ''}",
            self.remote,
            f"{commit}:{ref}",
        )
        if done.ok or await self.look(ref) == commit:
            return True
        if any(word in done.output for word in ("stale info", "fetch first", "cannot lock ref", "already exists")):
            return False
        raise self._failed(done, "push to")

    async def bring(self, commit: str, ref: str) -> None:
        """Have a commit here, fetched from its ref when it is not; raises GitError when it is not there."""
        if await self._has(commit):
            return
        only = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
        self._ok(await self._door.as_user("fetch", *only, self.remote, f"+{ref}:{ref}"), "fetch from")
        if not await self._has(commit):
            raise GitError(f"{self.remote} has something else under {ref} than {commit[:12]}", "is the run done twice?")

    async def _has(self, commit: str) -> bool:
        return (await self._door.run("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128))).ok

    async def drop(self, *refs: str) -> None:
        """Delete refs on the remote and here; those that are gone already are fine."""
        for start in range(0, len(refs), 200):  # the length of a command line has bounds
            some = refs[start : start + 200]
            await self._door.as_user("push", "--no-verify", "--quiet", self.remote, *(f":{ref}" for ref in some))
        for ref in refs:
            await self._door.run("update-ref", "-d", ref)

    def _ok(self, done: Completed, what: str) -> Completed:
        if not done.ok:
            raise self._failed(done, what)
        return done

    def _failed(self, done: Completed, what: str) -> GitError:
        said = next((line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:", "ERROR"))), "")
        return GitError(
            f"cannot {what} {self.remote}: {said or done.output.strip()[-300:]}",
            f"try by hand: git ls-remote {self.remote}",
        )
