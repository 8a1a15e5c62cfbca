"""A stand-in for the `docker` program: its containers are scripted model servers on the published egress port.

    docker = install(tmp_path, script)      # a folder for PATH
    docker.argv(), docker.environment()     # of the last `docker run`

It knows `run`, `rm`, `inspect` and `logs` as far as the harness uses them. Files in its folder steer it: `refuse` makes
`run` fail with that text, `mute` starts a container that never answers.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class StandIn:
    folder: Path

    def runs(self) -> list[dict[str, object]]:
        """Every `docker run`: its argv and environment."""
        file = self.folder / "runs.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def argv(self) -> list[str]:
        return list(self.runs()[-1]["argv"])  # type: ignore[call-overload]

    def environment(self) -> dict[str, str]:
        return dict(self.runs()[-1]["environment"])  # type: ignore[call-overload]

    def calls(self) -> list[str]:
        """The subcommands asked for, in order."""
        file = self.folder / "calls"
        return file.read_text().split() if file.exists() else []

    def served(self) -> bool:
        """Whether a container has been asked for a completion."""
        file = self.folder / "log"
        return file.exists() and "POST /v1/chat/completions" in file.read_text()

    def pid(self) -> int | None:
        file = self.folder / "pid"
        return int(file.read_text()) if file.exists() else None

    def alive(self) -> bool:
        return _alive(self.folder)

    def kill(self) -> None:
        """The container dies by itself."""
        _kill(self.folder)


def install(folder: Path, script: str) -> StandIn:
    """A `docker` in `folder` whose containers answer by the script's text."""
    folder.mkdir(exist_ok=True)
    (folder / "script.yaml").write_text(script)
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" "$@"\n')
    program.chmod(0o755)
    return StandIn(folder)


def _main(folder: Path, command: str, arguments: list[str]) -> int:
    with (folder / "calls").open("a") as log:
        log.write(command + "\n")
    if command == "run":
        return _run(folder, arguments)
    if command == "rm":
        _kill(folder)
    elif command == "inspect":
        if not (folder / "pid").exists():
            print("Error: No such object", file=sys.stderr)
            return 1
        print("true" if _alive(folder) else "false")
    elif command == "logs":
        print("plano: cannot read plano_config.yaml: line 3")
    return 0


def _run(folder: Path, arguments: list[str]) -> int:
    with (folder / "runs.jsonl").open("a") as log:
        log.write(json.dumps({"argv": arguments, "environment": dict(os.environ)}) + "\n")
    if (folder / "refuse").exists():
        print((folder / "refuse").read_text(), file=sys.stderr)
        return 125
    ports = [value for flag, value in itertools.pairwise(arguments) if flag == "--publish"]
    port = next(value.split(":")[1] for value in ports if value.endswith(":12000"))
    serve = [sys.executable, "-m", "tests.wire", "--script", str(folder / "script.yaml"), "--port", port]
    argv = [sys.executable, "-c", "import time; time.sleep(600)"] if (folder / "mute").exists() else serve
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "pid").write_text(str(child.pid))
    print("f" * 64)
    return 0


def _alive(folder: Path) -> bool:
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (OSError, ValueError):
        return False


def _kill(folder: Path) -> None:
    try:
        os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        pass
    ends = time.monotonic() + 5
    while _alive(folder) and time.monotonic() < ends:
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
