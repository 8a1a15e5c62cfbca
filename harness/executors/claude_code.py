"""Claude Code (`claude -p`) as an executor. (Signature first; the body follows.)"""

from __future__ import annotations

from harness.config.settings import Settings
from harness.protocols import Session, Worked
from harness.sandbox import Sandbox


class ClaudeCode:
    name = "claude_code"
    shared_prefix = False

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self._sandbox, self._settings = sandbox, settings

    async def work(self, session: Session) -> Worked:
        raise NotImplementedError
