"""A real Gas Town with one rig and one crew clone, made with gt and the bd generation it goes with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

STAND_IN = """#!/bin/sh
# Every command is the real gt's, but `sling`: it starts an agent in tmux and waits a minute or more for its prompt.
if [ "$1" = sling ]; then
    printf '%s\\n' "$*" >>"{log}"
    if [ -e "{log}.quick" ]; then exec bd close "$2"; fi
    exec bd update "$2" --status hooked --assignee "$3/polecats/toast"
fi
exec "{gt}" "$@"
"""


@dataclass(frozen=True)
class RealTown:
    """Where it is, and the environment in which its tools work."""

    root: Path
    clone: Path
    slung: Path
    """Log of the stand-in for `gt sling`: one line of arguments a call."""
    variables: dict[str, str]

    def call(self, *argv: str, cwd: Path | None = None) -> str:
        """The output of a command that must succeed; `bd` knows the rig's issues in the clone."""
        said = subprocess.run(  # noqa: TID251 - the test's own hands
            argv, cwd=cwd or self.clone, env=self.variables, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert said.returncode == 0, f"{argv}: {said.stdout}{said.stderr}"
        return said.stdout

    def issue(self, title: str, *options: str) -> str:
        return str(json.loads(self.call("bd", "create", f"--title={title}", *options, "--json"))["id"])

    def show(self, issue_id: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.call("bd", "show", issue_id, "--json"))[0]
        return found

    def convoy(self, name: str, *issues: str) -> str:
        self.call("gt", "convoy", "create", name, *issues, cwd=self.root)
        found = json.loads(self.call("gt", "convoy", "list", "--json", cwd=self.root))
        return str(next(convoy["id"] for convoy in found if convoy["title"] == name))

    def agents(self) -> dict[str, str]:
        found = json.loads(self.call("gt", "config", "agent", "list", "--json", cwd=self.root))
        return {agent["name"]: f"{agent['command']} {agent.get('args', '')}" for agent in found if agent["is_custom"]}


def make_town(folder: Path) -> RealTown:
    """Install a town, add a rig from a small repository, add a crew clone; takes some seconds."""
    real, bd = shutil.which("gt"), shutil.which("bd-0.47")
    if real is None or bd is None or "gt version 0." not in subprocess.check_output([real, "version"], text=True):
        pytest.skip("this town needs gt 0.5 and, as bd-0.47, the bd it goes with")
    tools, home, origin = folder / "tools", folder / "home", folder / "origin"
    for path in (tools, home, origin):
        path.mkdir()
    (tools / "bd").symlink_to(bd)
    (tools / "gt").write_text(STAND_IN.format(gt=real, log=folder / "slung"))
    (tools / "gt").chmod(0o755)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Crew\n\temail = crew@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    variables = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "BEADS_NO_DAEMON": "1"}
    made = RealTown(folder / "town", folder / "town" / "csm" / "crew" / "me", folder / "slung", variables)
    (origin / "README.md").write_text("A small project.\n")
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Begin"]):
        made.call("git", *argv, cwd=origin)
    made.call("gt", "install", str(made.root), cwd=folder)
    made.call("gt", "rig", "add", "csm", str(origin), "--prefix", "cs", cwd=made.root)
    made.call("gt", "crew", "add", "me", "--rig", "csm", cwd=made.root)
    return made
