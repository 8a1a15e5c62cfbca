"""What honest programs need works inside: tool chains, temporary files, exit codes, input and output."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.settings import SandboxSettings
from harness.errors import ConfigError, SandboxError
from harness.proc import run
from harness.sandbox import Sandbox, detect, probe, sweep_scratch
from harness.sandbox.toolchain import toolchain
from tests.sandbox.conftest import Do


async def test_python_tests_run(do: Do, worktree: Path) -> None:
    (worktree / "test_it.py").write_text(
        "import multiprocessing, tempfile, unittest\n\nclass T(unittest.TestCase):\n"
        "    def test_temporary(self):\n        with tempfile.NamedTemporaryFile() as f: f.write(b'x')\n"
    )
    done = await do("python -m unittest -q && python -m pytest -q -p no:cacheprovider", 18)
    assert done.ok, done.output
    assert not list(worktree.rglob("__pycache__")), "byte code would end up in a commit"


async def test_the_worktree_is_writable_and_so_is_tmp(do: Do, worktree: Path) -> None:
    done = await do(
        'mkdir -p a/b && echo x > a/b/c && rm inside.txt && mktemp && echo y > "$TMPDIR/y" && cat "$TMPDIR/y"'
    )
    assert done.ok and done.stdout.endswith("y\n")
    assert (worktree / "a/b/c").read_text() == "x\n" and not (worktree / "inside.txt").exists()


async def test_scratch_lasts_as_long_as_its_owner_wants(sandbox: Sandbox, worktree: Path) -> None:
    async with sandbox.scratch() as scratch:
        await sandbox.run("echo kept > $TMPDIR/file; mkdir $TMPDIR/no; chmod 0 $TMPDIR/no", worktree, scratch=scratch)
        assert (await sandbox.run("cat $TMPDIR/file", worktree, scratch=scratch)).stdout == "kept\n"
    assert not scratch.exists()


async def test_scratch_of_the_dead_is_swept_and_of_the_living_is_not(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, young, link = (tmp_path / f"harness-scratch-{name}" for name in ("dead", "young", "link"))
    (dead / "home").mkdir(parents=True)
    (dead / "home").chmod(0)
    young.mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    async with sandbox.scratch() as mine:
        for folder in (dead, mine):
            os.utime(folder, (0, 0))
        assert sweep_scratch() == [dead]
        assert not dead.exists() and mine.is_dir() and young.is_dir() and link.is_symlink()
    assert sweep_scratch(minimum_age=0) == [young]


@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("no-such-program", 127), ("true", 0)]
)
async def test_exit_codes_are_a_shells(do: Do, command: str, code: int) -> None:
    assert (await do(command)).exit_code == code


async def test_a_program_that_is_not_there(sandbox: Sandbox, worktree: Path) -> None:
    done = await sandbox.run(["no-such-program"], worktree)
    assert done.exit_code in (1, 127) and "no-such-program" in done.output


async def test_input_output_and_lines(sandbox: Sandbox, worktree: Path) -> None:
    lines: list[str] = []
    done = await sandbox.run(["sh", "-c", "cat; echo err >&2"], worktree, stdin=b"a\nb", on_line=lines.append)
    assert (done.stdout, done.stderr, lines) == ("a\nb", "err\n", ["a", "b"])
    assert (await sandbox.run("echo one; echo two >&2; echo three", worktree, merge=True)).stdout == "one\ntwo\nthree\n"


async def test_a_path_with_spaces_and_a_symlinked_worktree(sandbox: Sandbox, tmp_path: Path) -> None:
    odd = tmp_path / "a b 'c'"
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    assert (await sandbox.run("echo x > y; pwd", tmp_path / "link")).stdout == f"{odd}\n"
    assert (odd / "y").exists()


async def test_network_can_be_opened(sandbox: Sandbox, worktree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('reached')"
        assert (await sandbox.run(["python", "-c", program], worktree, 15, network=True)).stdout == "reached\n"


async def test_further_folders_are_readable_only(sandbox: Sandbox, worktree: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "data").write_text("data\n")
    more = replace(sandbox, readable=(*sandbox.readable, shared))
    done = await more.run(f"cat {shared}/data; echo x > {shared}/data", worktree)
    assert done.stdout == "data\n" and (shared / "data").read_text() == "data\n"


async def test_landlock_refuses_a_repository_that_it_cannot_guard(tmp_path: Path) -> None:
    sandbox = await detect(SandboxSettings(mode="landlock"))
    assert (await run(["git", "init", "-q", str(tmp_path)])).ok
    with pytest.raises(SandboxError, match="repository of its own") as error:
        await sandbox.run("true", tmp_path)
    assert "worktree" in (error.value.hint or "")


async def test_with_no_way_to_confine_it_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("harness.sandbox.probing._bubblewraps", lambda: [str(tmp_path / "bwrap")])
    with pytest.raises(SandboxError, match="No permissions to create new namespace") as error:
        await detect(SandboxSettings(mode="bubblewrap"))
    assert "--no-sandbox" in (error.value.hint or "")
    told = {probe.mode: probe for probe in await probe(SandboxSettings())}
    assert not told["bubblewrap"].works and "user namespaces" in (told["bubblewrap"].cure or "")
    assert told["landlock"].works
    assert (await detect(SandboxSettings())).mode == "landlock", "the next best is taken"


async def test_none_confines_nothing_but_keeps_the_environment_clean(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "leaked")
    sandbox = await detect(SandboxSettings(mode="none"))
    done = await sandbox.run("env; setsid sleep 300 & echo on", tmp_path, 10)
    assert "leaked" not in done.stdout and done.seconds < 8


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "ANTHROPIC_API_KEY", "DATABASE"])
async def test_credentials_are_not_passed_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DATABASE", "postgres://me:secret@host/db")
    with pytest.raises(ConfigError, match=f"{name} looks like a credential"):
        await detect(SandboxSettings(environment=(name,)))
    monkeypatch.setenv("FLAVOUR", "plain")
    assert (await detect(SandboxSettings(environment=("FLAVOUR",)))).environment["FLAVOUR"] == "plain"


def test_the_toolchain_is_path_without_the_rest_of_home(tmp_path: Path) -> None:
    home, repo = tmp_path / "home", tmp_path / "repo"
    for folder in (home / ".local/bin", home / ".local/lib", home / ".local/share", home / "bin", repo / ".venv/bin"):
        folder.mkdir(parents=True)
    (repo / ".venv/pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    path = f"{home}/.local/bin:{home}:{home}/bin:/usr/bin:relative:/nowhere"
    found = toolchain({"HOME": str(home), "PATH": path}, repo)
    assert found.path[0] == f"{repo}/.venv/bin" and found.environment["VIRTUAL_ENV"] == f"{repo}/.venv"
    assert str(home) not in found.path and "/nowhere" not in found.path and "relative" not in found.path
    assert home / ".local/lib" in found.readable and home / ".local/share" not in found.readable
    assert home not in found.readable and Path(sys.base_prefix) / "lib" in found.readable


@pytest.mark.parametrize("mode", [pytest.param("bubblewrap", marks=pytest.mark.needs_bwrap), "landlock"])
async def test_installed_packages_of_the_repository_are_found(mode: Any, worktree: Path, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node: apt-get install nodejs")
    packages = tmp_path / "repo" / "node_modules"
    (packages / "greet").mkdir(parents=True)
    (packages / "greet" / "index.js").write_text("module.exports = 'hello'\n")
    (packages / ".bin").mkdir()
    (packages / ".bin" / "say").write_text("#!/bin/sh\necho said\n")
    (packages / ".bin" / "say").chmod(0o755)
    sandbox = await detect(SandboxSettings(mode=mode), tmp_path / "repo")
    done = await sandbox.run(
        "node -p 'require(\"greet\")'; say; touch node_modules/x; rm -rf node_modules/greet", worktree
    )
    assert done.stdout == "hello\nsaid\n", done.stderr
    assert (packages / "greet" / "index.js").exists() and not (packages / "x").exists()
