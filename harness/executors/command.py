"""Any agent CLI as an executor: a preset's argv, filled in. (Signature first; the body follows.)"""

from __future__ import annotations

from harness.config.settings import ExecutorCommand, Settings
from harness.protocols import Session, Worked
from harness.sandbox import Sandbox


class CommandExecutor:
    shared_prefix = False

    def __init__(self, name: str, preset: ExecutorCommand, sandbox: Sandbox, settings: Settings) -> None:
        self.name, self._preset, self._sandbox, self._settings = name, preset, sandbox, settings

    async def work(self, session: Session) -> Worked:
        raise NotImplementedError


def preset(name: str, settings: Settings) -> ExecutorCommand | None:
    """The preset of that name, the user's before the built-in one; None when there is none."""
    return settings.executors.get(name)
