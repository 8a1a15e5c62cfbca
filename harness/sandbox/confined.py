"""A sandbox: how a program is confined, and running it so."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread

from harness.errors import SandboxError
from harness.proc import OUTPUT_LIMIT, Completed, run
from harness.sandbox.toolchain import ETC, SYSTEM, git_folder

Mode = Literal["bubblewrap", "landlock", "none"]

LAUNCHER = Path(__file__).with_name("launcher.py")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GRACE_SECONDS = 6.0
"""For the launcher to kill what the program left behind."""
NO_PROGRAM = "bwrap: execvp "
"""How bubblewrap begins when everything is set up and only the program is missing."""
MEGABYTE = 1 << 20
SCRATCH = "harness-scratch-"
"""How scratch folders in the temporary folder begin."""
MINIMUM_AGE_SECONDS = 60.0


@dataclass(frozen=True)
class Sandbox:
    """Runs programs that may write one worktree and a scratch folder, and nothing else.

    In `bubblewrap` mode they see only those, the toolchain and a process table of their own, with a loopback of their
    own for network. In `landlock` mode they see the machine's other processes by name, have no sockets at all, and
    `.git` of the worktree is put right after each command. In `none` mode only limits and the clean environment hold.
    """

    mode: Mode
    readable: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """All a program gets, besides HOME and TMPDIR."""
    dependencies: tuple[Path, ...] = ()
    """Folders that bubblewrap shows in the worktree under their own names, unless something is there already."""
    network: bool = False
    processes: int = 512
    file_mb: int = 2048
    """The largest file a program may write."""
    memory_mb: int | None = None
    """Address space of each process. Runtimes that reserve much more than they use (node, go) need it generous."""
    bwrap: str = "bwrap"
    nested: bool = False
    """Whether programs may make user namespaces; only where bubblewrap cannot forbid it."""
    abi: int = 0
    """The kernel's Landlock version."""

    async def run(
        self,
        command: str | Sequence[str],
        worktree: Path,
        timeout: float | None = None,
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        network: bool | None = None,
        readable: Sequence[Path] = (),
        scratch: Path | None = None,
        merge: bool = False,
        output_limit: int = OUTPUT_LIMIT,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a shell command (text) or a program (argv) in the worktree; whatever it started is dead afterwards.

        `scratch` is its `/tmp` and home; without one it gets its own for this command alone. Exit codes as a shell's:
        128 + N for signal N, 127 for no such program, 124 for time-out. Raises SandboxError when the program could
        not be confined; it has not run then.
        """
        if scratch is None:
            async with self.scratch() as own:
                return await self.run(
                    command, worktree, timeout, stdin=stdin, environment=environment, network=network,
                    readable=readable, scratch=own, merge=merge, output_limit=output_limit, on_line=on_line,
                )  # fmt: skip
        program = [self._shell(), "-c", command] if isinstance(command, str) else list(command)
        worktree, argv = self._wrapped(program, worktree, scratch, network, readable)
        marker = _keep(worktree / ".git") if self.mode == "landlock" else None
        try:
            done = await run(
                argv, cwd=worktree, env=self._variables(scratch, environment or {}), stdin=stdin, timeout=timeout,
                merge=merge, output_limit=output_limit, on_line=on_line, grace=GRACE_SECONDS,
            )  # fmt: skip
        finally:
            if marker is not None:
                _put_back(worktree / ".git", marker)
        if not done.timed_out and (message := _not_confined(done)):
            raise SandboxError(
                f"the sandbox ({self.mode}) did not start: {message}", "harness doctor tells what works here"
            )
        return Completed(tuple(program), done.exit_code, done.stdout, done.stderr, done.seconds, done.timed_out)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """A private folder for one or more commands, removed afterwards with all they left in it."""
        folder, lock = await anyio.to_thread.run_sync(_new_folder)
        try:
            yield folder
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, folder)
            os.close(lock)

    def wrap(
        self,
        program: Sequence[str],
        worktree: Path,
        scratch: Path,
        *,
        network: bool | None = None,
        readable: Sequence[Path] = (),
    ) -> list[str]:
        """The command line that runs `program` confined. Raises SandboxError for a worktree that cannot be guarded."""
        network = self.network if network is None else network
        shown = (*self.readable, *readable)
        limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": self.file_mb * MEGABYTE}
        if self.memory_mb is not None:
            limits["RLIMIT_AS"] = self.memory_mb * MEGABYTE
        plan: dict[str, Any] = {"parent": os.getpid(), "limits": limits, "processes": self.processes}
        (scratch / "home").mkdir(exist_ok=True)
        if self.mode == "bubblewrap":
            program = [*self._bubblewrap(worktree, scratch, shown, network), "--", *program]
        elif self.mode == "landlock":
            plan["landlock"] = self._landlock(worktree, scratch, shown, network)
        return [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(plan), *program]

    def _wrapped(
        self, program: Sequence[str], worktree: Path, scratch: Path, network: bool | None, readable: Sequence[Path]
    ) -> tuple[Path, list[str]]:
        real = worktree.resolve()
        return real, self.wrap(program, real, scratch, network=network, readable=readable)

    def _bubblewrap(self, worktree: Path, scratch: Path, shown: Sequence[Path], network: bool) -> list[str]:
        argv = [self.bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        if not self.nested:
            argv += ["--unshare-user", "--disable-userns"]
        if network:
            argv.append("--share-net")
        for path in SYSTEM:
            if path.is_symlink():
                argv += ["--symlink", os.readlink(path), str(path)]
            elif path.is_dir():
                argv += ["--ro-bind", str(path), str(path)]
        for path in ETC:
            if path.exists():
                argv += ["--ro-bind", str(path.resolve()), str(path)]
        argv += ["--proc", "/proc", "--dev", "/dev", "--dir", "/run", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]
        argv += ["--bind", str(scratch), "/tmp"]
        for path in sorted(shown):
            argv += ["--ro-bind-try", str(path.resolve()), str(path)]
            if path.resolve() != path:
                argv += ["--ro-bind-try", str(path.resolve()), str(path.resolve())]
        git = git_folder(worktree)
        for path in git.readable:
            argv += ["--ro-bind", str(path), str(path)]
        for path in git.hidden:
            argv += ["--ro-bind", "/dev/null", str(path)]
        argv += ["--bind", str(worktree), str(worktree)]
        for path in self.dependencies:
            if not _occupied(worktree / path.name):
                argv += ["--ro-bind", str(path), str(worktree / path.name)]
        if git.marker:
            argv += ["--ro-bind", str(git.marker), str(git.marker)]
        return [*argv, "--remount-ro", "/", "--chdir", str(worktree)]

    def _landlock(self, worktree: Path, scratch: Path, shown: Sequence[Path], network: bool) -> dict[str, Any]:
        git = git_folder(worktree)
        if git.marker and git.marker.is_dir():
            raise SandboxError(
                f"{worktree} is a repository of its own, and Landlock cannot keep programs from changing its .git",
                "work in a git worktree, or install bubblewrap",
            )
        readable = [*SYSTEM, *ETC, Path("/proc"), *shown]
        if not git.hidden:
            readable += git.readable
        return {
            "abi": self.abi,
            "readable": [str(path) for path in readable],
            "writable": [str(worktree), str(scratch)],
            "devices": list(DEVICES),
            "network": network,
        }

    def _variables(self, scratch: Path, extra: Mapping[str, str]) -> dict[str, str]:
        temporary = "/tmp" if self.mode == "bubblewrap" else str(scratch)
        return {**self.environment, "HOME": f"{temporary}/home", "TMPDIR": temporary, **extra}

    @staticmethod
    def _shell() -> str:
        return "bash" if Path("/bin/bash").exists() else "sh"


def _not_confined(done: Completed) -> str | None:
    """What bubblewrap or the launcher said when they gave up before the program ran."""
    said = (done.stderr or done.stdout).strip()
    last = said.splitlines()[-1] if said else ""
    if done.exit_code == 125 and last.startswith("sandbox: cannot confine"):
        return last
    return last if done.exit_code == 1 and last.startswith("bwrap: ") and not last.startswith(NO_PROGRAM) else None


def _occupied(path: Path) -> bool:
    return path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir()))


def _keep(marker: Path) -> bytes | None:
    return marker.read_bytes() if marker.is_file() and not marker.is_symlink() else None


def _put_back(marker: Path, content: bytes) -> None:
    """Landlock cannot except one file from a writable folder, so whatever was made of it is undone."""
    if _keep(marker) == content:
        return
    if marker.is_dir() and not marker.is_symlink():
        _remove(marker)
    else:
        marker.unlink(missing_ok=True)
    marker.write_bytes(content)


def sweep_scratch(minimum_age: float = MINIMUM_AGE_SECONDS) -> list[Path]:
    """Remove scratch folders whose process was killed; those of living processes, in whatever container, are locked."""
    swept = []
    for folder in Path(tempfile.gettempdir()).glob(SCRATCH + "*"):
        try:
            state = folder.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
                continue
            if time.time() - state.st_mtime < minimum_age:  # it may have been made, and not been locked yet
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # somebody else has removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            _remove(folder)
            swept.append(folder)
        finally:
            os.close(lock)
    return swept


def _new_folder() -> tuple[Path, int]:
    """A folder, and the lock on it that tells it from those of dead processes."""
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH)).resolve()
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, lock


def _remove(folder: Path) -> None:
    """Remove a folder, even one whose owner took away the right to."""
    for place, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
