"""Programs confined to a worktree. (Signatures first; the bodies follow.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.config.settings import SandboxSettings
from harness.proc import Completed

Mode = Literal["bubblewrap", "landlock", "none"]


@dataclass(frozen=True)
class Sandbox:
    mode: Mode
    readable: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = False

    async def run(
        self,
        command: str | Sequence[str],
        worktree: Path,
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        network: bool | None = None,
        scratch: Path | None = None,
        merge: bool = False,
    ) -> Completed:
        raise NotImplementedError


async def detect(settings: SandboxSettings, root: Path | None = None) -> Sandbox:
    """The strongest sandbox that works here; raises SandboxError with the cure when none does."""
    raise NotImplementedError
