"""Run a program: argv in, bounded output out; time limit; the process group is killed on every exit path."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from harness.errors import MissingTool

OUTPUT_LIMIT = 8 * 1024 * 1024
"""Bytes kept of each stream; the middle of anything longer is dropped."""

DRAIN_SECONDS = 0.5
"""How long output is read on after the program's end, when a process that outlived it still holds the pipes."""


@dataclass(frozen=True)
class Completed:
    """How a program ended. Output is decoded as UTF-8 with replacement."""

    argv: tuple[str, ...]
    exit_code: int
    """Negative: killed by that signal; 124: over its time."""
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def output(self) -> str:
        return self.stdout + (("\n" if self.stdout and not self.stdout.endswith("\n") else "") + self.stderr)


async def run(
    argv: Sequence[str],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
    merge: bool = False,
    output_limit: int = OUTPUT_LIMIT,
    on_line: Callable[[str], None] | None = None,
    grace: float = 0.0,
) -> Completed:
    """Run `argv` to its end and return what it said; `merge` puts standard error into standard output, in order.

    `on_line` gets each line of standard output as it comes. Never raises for a non-zero exit; raises MissingTool when
    there is no such program. On time-out, cancellation or any error the whole process group is killed before this
    returns; with `grace` (seconds) the program itself is sent SIGTERM first and given that long to clear up.
    """
    began = time.monotonic()
    try:
        process = await anyio.open_process(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        if error.filename == str(cwd):
            raise MissingTool(f"the folder {cwd} does not exist") from None
        raise MissingTool(
            f"cannot run '{argv[0]}': {error.strerror}", f"install {argv[0]}, or put it on PATH"
        ) from None
    out, err = _Tail(output_limit), _Tail(output_limit)
    if on_line is not None:
        out = _Lines(output_limit, on_line)
    timed_out = False
    try:
        with anyio.move_on_after(timeout) as scope:
            async with anyio.create_task_group() as group:
                if process.stdout:
                    group.start_soon(_drain, process.stdout, out)
                if process.stderr:
                    group.start_soon(_drain, process.stderr, err)
                if process.stdin and stdin is not None:
                    group.start_soon(_feed, process.stdin, stdin)
                await process.wait()
                kill_group(process.pid)
                # A daemon that left the group may hold the pipes open for ever; what the program said is in by then.
                group.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        timed_out = scope.cancelled_caught
    finally:
        with anyio.CancelScope(shield=True):
            if grace and process.returncode is None:
                _terminate(process)
                with anyio.move_on_after(grace):
                    await process.wait()
            kill_group(process.pid)
            await process.wait()
            await process.aclose()
    code = 124 if timed_out else (process.returncode if process.returncode is not None else -signal.SIGKILL)
    return Completed(tuple(argv), code, out.text(), err.text(), time.monotonic() - began, timed_out)


def kill_group(pid: int) -> None:
    """SIGKILL to the process group led by `pid`; silent when it is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _terminate(process: anyio.abc.Process) -> None:
    try:
        process.terminate()
    except ProcessLookupError:
        pass


class _Tail:
    """Keeps the first and last half of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        extra = len(self._tail) - self._half
        if extra > 0:
            del self._tail[:extra]
            self._dropped += extra

    def text(self) -> str:
        middle = f"\n… {self._dropped:,} bytes left out …\n".encode() if self._dropped else b""
        return bytes(self._head + middle + self._tail).decode("utf-8", "replace")


class _Lines(_Tail):
    """Hands on whole lines as they come, besides keeping what a _Tail keeps."""

    LONGEST = 4 * 1024 * 1024

    def __init__(self, limit: int, on_line: Callable[[str], None]) -> None:
        super().__init__(limit)
        self._on_line = on_line
        self._begun = bytearray()

    def add(self, data: bytes) -> None:
        super().add(data)
        self._begun += data
        *whole, rest = self._begun.split(b"\n")
        self._begun = rest if len(rest) <= self.LONGEST else bytearray()
        for line in whole:
            self._on_line(line.decode("utf-8", "replace"))

    def text(self) -> str:
        if self._begun:
            self._on_line(self._begun.decode("utf-8", "replace"))
            self._begun = bytearray()
        return super().text()


async def _drain(stream: anyio.abc.ByteReceiveStream, into: _Tail) -> None:
    try:
        async for chunk in stream:
            into.add(chunk)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        pass


async def _feed(stream: anyio.abc.ByteSendStream, data: bytes) -> None:
    try:
        await stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # the program did not want its input
    finally:
        await stream.aclose()
