"""`harness init`: a settings file, the state folder, and on demand the hooks of Beads and the agents of Gas Town."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import anyio

from harness import proc
from harness.cli.common import common_options, put_json, repository_root, show
from harness.config.describe import as_yaml
from harness.config.reading import environment, read_mapping
from harness.config.settings import Settings, find_settings, load_settings
from harness.errors import GitError, SandboxError
from harness.sandbox import detect as detect_sandbox
from harness.trackers import gastown, hooks
from harness.trackers.detect import detect as detect_tracker

EXAMPLES = """examples:
  harness init                     write harness.yaml and .harness/, and say what was found
  harness init --hooks             also install the Beads hooks that wake up `harness work --watch`
  harness init --gastown           also register the agents claude-haiku, -sonnet, -opus and the formula with gt
  harness init --hooks --remove    take the hooks away again; --remove alone takes everything away
"""

PROVIDERS = Path(__file__).parents[1] / "config" / "providers.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("--hooks", action="store_true", help="install the Beads hooks on_create and on_update")
    parser.add_argument("--gastown", action="store_true", help="register agents and the convoy formula with Gas Town")
    parser.add_argument("--remove", action="store_true", help="undo: all of it, or what --hooks or --gastown names")
    parser.add_argument("--force", action="store_true", help="write harness.yaml anew, and agents of the same name")


def run(arguments: argparse.Namespace) -> int:
    root = repository_root(arguments.repo)
    done = anyio.run(_remove if arguments.remove else _set_up, root, arguments)
    if arguments.json:
        put_json(done)
        return 0
    for line in done["done"]:
        show(line)
    if not arguments.remove:
        show("", "found:", *(f"  {name:<9} {said}" for name, said in done["found"].items()))
        show("", *(f"next: {step}" for step in done["next"]))
    return 0


async def _set_up(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    if shutil.which("git"):
        bare = await proc.run(["git", "-C", str(root), "rev-parse", "--is-bare-repository"])
        if bare.stdout.strip() == "true":
            raise GitError(
                f"{root} is a bare repository: it has no files to work on", "clone it, and go into the clone"
            )
    verify = guess_verify(root)
    done = [_write_settings(root, arguments.config, verify, arguments.force)]
    settings = load_settings(root, arguments.config)
    settings.state.mkdir(exist_ok=True)
    ignore = settings.state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
        done.append(f"made {settings.state} (ignores itself)")
    if arguments.hooks:
        changed = hooks.install(root, settings.state)
        done += [f"installed {path}" for path in changed] or ["the Beads hooks are in place"]
    if arguments.gastown:
        done += await gastown.register(settings, arguments.force)
    return {"done": done, "found": await found(settings), "next": _next(settings, arguments.hooks)}


async def _remove(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    everything = not (arguments.hooks or arguments.gastown)
    settings = load_settings(root, arguments.config)
    done: list[str] = []
    if arguments.hooks or (everything and (root / ".beads").is_dir()):
        done += [f"restored {path}" for path in hooks.remove(root, settings.state)]
    if arguments.gastown or (everything and shutil.which("gt") and gastown.town_root(root)):
        done += await gastown.unregister(settings)
    if everything:
        path = find_settings(root)
        if path is not None and path.read_text(encoding="utf-8") == as_yaml(guess_verify(root)):
            path.unlink()
            done.append(f"removed {path}")
        elif path is not None:
            done.append(f"left {path}: it was changed since it was written")
        if settings.state.is_dir():
            done.append(f"left {settings.state}: it holds the journal of your runs; rm -r it when you want it gone")
    return {"done": done or ["nothing of harness was here"], "found": {}, "next": []}


def _write_settings(root: Path, file: Path | None, verify: tuple[str, ...], force: bool) -> str:
    present = file or find_settings(root)
    if present is not None and present.exists() and not force:
        load_settings(root, present)
        return f"left {present} as it is (--force writes it anew)"
    path = present or root / "harness.yaml"
    path.write_text(as_yaml(verify), encoding="utf-8")
    return f"wrote {path}"


def guess_verify(root: Path) -> tuple[str, ...]:
    """The command that most likely runs this repository's tests; empty when nothing tells."""
    text = {name: _text(root / name) for name in ("pyproject.toml", "setup.cfg", "tox.ini", "package.json", "Makefile")}
    config = text["pyproject.toml"] + text["setup.cfg"] + text["tox.ini"]
    tests = [*root.glob("test_*.py"), *root.glob("tests/**/test_*.py"), *root.glob("test/**/test_*.py")]
    if "pytest" in config or any((root / name).exists() for name in ("pytest.ini", "conftest.py", "tests/conftest.py")):
        return ("python -m pytest -q",)
    if tests:
        plain = all("import pytest" not in _text(path) for path in tests)
        return ("python -m unittest discover",) if plain and _uses_unittest(tests) else ("python -m pytest -q",)
    if _has_npm_test(text["package.json"]):
        return ("npm test",)
    if (root / "go.mod").exists():
        return ("go test ./...",)
    if (root / "Cargo.toml").exists():
        return ("cargo test",)
    return ("make test",) if re.search(r"^test\s*:", text["Makefile"], re.MULTILINE) else ()


def _uses_unittest(tests: list[Path]) -> bool:
    return any("unittest" in _text(path) for path in tests)


def _has_npm_test(package: str) -> bool:
    try:
        script = json.loads(package or "{}").get("scripts", {}).get("test", "")
    except (ValueError, AttributeError):
        return False
    return bool(script) and "no test specified" not in script


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


async def found(settings: Settings) -> dict[str, str]:
    """What this machine and repository have, in a line each."""
    root = settings.root
    git = "not installed"
    if shutil.which("git"):
        branch = await proc.run(["git", "-C", str(root), "symbolic-ref", "--short", "HEAD"])
        git = f"branch {branch.stdout.strip()}" if branch.ok else "no repository here: run `git init`"
    tracker = settings.tracker.kind if settings.tracker.kind != "auto" else detect_tracker(settings)
    variables = environment()
    present = sorted(
        str(entry["key"]) for entry in read_mapping(PROVIDERS).values() if variables.get(str(entry["key"]))
    )
    return {
        "git": git,
        "tracker": f"{tracker}, " + await _version("bd", "version"),
        "gas town": await _version("gt", "--version") if gastown.town_root(root) else "not in a town",
        "keys": ", ".join(present) or "none: export ANTHROPIC_API_KEY=…",
        "sandbox": await _sandbox(settings),
        "verify": "; ".join(settings.verify) or "nothing: name your test command under `verify:`",
    }


async def _version(program: str, argument: str) -> str:
    if shutil.which(program) is None:
        return f"no {program} on PATH"
    said = await proc.run([program, argument], timeout=20)
    return (said.stdout.strip().splitlines() or [f"{program} says nothing"])[0]


async def _sandbox(settings: Settings) -> str:
    try:
        sandbox = await detect_sandbox(settings.sandbox, settings.root)
    except SandboxError as error:
        return f"none: {error.message}"
    return str(sandbox.mode)


def _next(settings: Settings, hooked: bool) -> list[str]:
    steps = [] if settings.verify else ["name your test command in harness.yaml, under `verify:`"]
    if detect_tracker(settings) == "beads" and not hooked and not hooks.installed(settings.root):
        steps.append("harness init --hooks lets new issues wake up `harness work --watch`")
    return [*steps, "harness doctor checks the rest; harness run ISSUE takes one issue to reviewed code"]
