"""Our own agent loop: a model, five tools, a worktree. (Signature first; the body follows.)"""

from __future__ import annotations

from harness.config.settings import Settings
from harness.protocols import ModelClient, Session, Worked, Workspace
from harness.sandbox import Sandbox


class ToolLoop:
    name = "tool_loop"

    def __init__(self, models: ModelClient, sandbox: Sandbox, workspace: Workspace, settings: Settings) -> None:
        self._models, self._sandbox, self._workspace, self._settings = models, sandbox, workspace, settings

    async def work(self, session: Session) -> Worked:
        raise NotImplementedError
