"""Real attempts to get out, each in every mode: what must fail fails, and the world outside is looked at afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import anyio
import pytest

from harness.proc import run
from harness.sandbox import Sandbox
from tests.sandbox.conftest import Do, alive, gone


async def test_the_home_is_neither_readable_nor_writable(do: Do) -> None:
    home = Path(os.environ["HOME"])
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_text("PRIVATE")
    done = await do(f"cat {home}/.ssh/id_ed25519; ls {home}; touch {home}/left; echo $HOME; touch ~/mine && echo own")
    assert "PRIVATE" not in done.output and not (home / "left").exists()
    assert done.stdout.splitlines()[-1] == "own", "it has a home of its own"
    assert str(home) not in done.stdout


async def test_root_of_the_machine_is_not_writable(do: Do, tmp_path: Path) -> None:
    done = await do(f"for d in / /etc /usr /opt /var /run /dev/shm {tmp_path}; do touch $d/escaped; done")
    assert not list(tmp_path.glob("escaped")), done.output
    for folder in ("/", "/etc", "/usr", "/opt", "/var", "/run", "/dev/shm"):
        assert not Path(folder, "escaped").exists()


async def test_a_neighbouring_worktree_is_out_of_reach(do: Do, worktree: Path) -> None:
    other = worktree.parent / "other"
    other.mkdir()
    (other / "secret").write_text("theirs")
    done = await do(f"cat ../other/secret {other}/secret; echo x > ../other/secret; ls ..; rm -rf ../other")
    assert "theirs" not in done.output
    assert (other / "secret").read_text() == "theirs"


async def test_a_symlink_leads_nowhere(do: Do, worktree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    done = await do(f"ln -s {tmp_path}/outside.txt l; cat l; echo x > l; ln {tmp_path}/outside.txt h; cat h")
    assert "outside\n" not in done.stdout and done.stdout.strip() == ""
    assert (tmp_path / "outside.txt").read_text() == "outside"


@pytest.mark.parametrize("family", ["tcp", "udp", "unix"])
async def test_no_socket_reaches_anybody(do: Do, family: str, tmp_path: Path) -> None:
    reached = tmp_path / "s"
    kinds = {"tcp": (socket.AF_INET, 1), "udp": (socket.AF_INET, 2), "unix": (socket.AF_UNIX, 1)}
    with socket.socket(*kinds[family]) as server:
        server.bind(str(reached) if family == "unix" else ("127.0.0.1", 0))
        if family != "udp":
            server.listen()
        server.setblocking(False)
        address = server.getsockname()
        program = (
            f"import socket; s = socket.socket({int(kinds[family][0])}, {kinds[family][1]}); "
            f"s.connect({address!r}); s.send(b'hello'); print('sent')"
        )
        done = await do(f'python -c "{program}"')
        heard = None
        try:
            heard = server.recv(10) if family == "udp" else server.accept()
        except BlockingIOError:
            pass
    assert heard is None, f"{done.output} {heard!r}"
    if family != "udp":
        assert "sent" not in done.stdout


async def test_no_secret_is_in_the_environment_nor_in_a_neighbours(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-leaked")
    neighbour = await anyio.open_process(["sleep", "60"])  # inherits it
    try:
        done = await do("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'")
    finally:
        neighbour.kill()
        await neighbour.wait()
    assert "sk-leaked" not in done.stdout
    assert {"PATH", "HOME", "TMPDIR", "LANG", "TERM"} <= {line.partition("=")[0] for line in done.stdout.splitlines()}


async def test_git_works_for_reading_and_its_folder_is_not_writable(do: Do, worktree: Path, tmp_path: Path) -> None:
    before = (worktree / ".git").read_text()
    repo = tmp_path / "repo"
    done = await do(
        f"echo x > {repo}/.git/hooks/pre-commit; echo x >> {repo}/.git/config; rm -rf {repo}/.git/refs; "
        f"cat {repo}/.git/config; rm -f .git; mkdir .git; echo 'gitdir: /tmp/evil' > .git; true"
    )
    assert "hunter2" not in done.output, "a configuration with a credential in it is not shown"
    assert (worktree / ".git").read_text() == before
    assert not (repo / ".git/hooks/pre-commit").exists() and (repo / ".git/refs").is_dir()
    assert (await run(["git", "-C", str(repo), "status"], env={"PATH": os.environ["PATH"]})).ok


async def test_git_log_without_credentials_in_the_configuration(do: Do, tmp_path: Path) -> None:
    done = await run(["git", "-C", str(tmp_path / "repo"), "config", "--unset", "http.extraHeader"])
    assert done.ok
    assert (await do("git log --format=%s; git status --short")).stdout == "First\n?? inside.txt\n"


async def test_a_git_file_of_the_programs_own_opens_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    plain, secret = tmp_path / "plain", tmp_path / "secret"
    plain.mkdir()
    (secret / "worktrees" / "x").mkdir(parents=True)
    (secret / "key").write_text("PRIVATE")
    await sandbox.run(f"echo 'gitdir: {secret}/worktrees/x' > .git", plain, 10)
    assert "PRIVATE" not in (await sandbox.run(f"cat {secret}/key", plain, 10)).output


@pytest.mark.parametrize(
    "how", ["sleep 300 & echo done", "setsid sleep 300 & echo done", "(setsid nohup sleep 300 &) ; echo done"]
)
async def test_nothing_stays_behind(do: Do, how: str) -> None:
    seconds = f"300.{time.monotonic_ns()}"
    began = time.monotonic()
    done = await do(how.replace("300", seconds) + "; sleep 0.3")
    assert "done" in done.stdout and time.monotonic() - began < 8
    assert await gone(seconds)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_nothing_stays_behind_when_it_is_stopped(do: Do, how: str) -> None:
    seconds = f"300.{time.monotonic_ns()}"
    command = f"setsid sleep {seconds} & setsid setsid sleep {seconds} & trap '' TERM; sleep {seconds}"
    if how == "timeout":
        assert (await do(command, 0.7)).exit_code == 124
    else:
        with anyio.move_on_after(0.7):
            await do(command)
    assert await gone(seconds)


async def test_nothing_outlives_a_killed_harness(sandbox: Sandbox, worktree: Path, tmp_path: Path) -> None:
    seconds = f"300.{time.monotonic_ns()}"
    program = (
        "import anyio, sys, pathlib; from harness.sandbox import detect; "
        "from harness.config.settings import SandboxSettings as S\n"
        f"async def m():\n s = await detect(S(mode='{sandbox.mode}'))\n"
        f" await s.run('setsid sleep {seconds} & sleep {seconds}', pathlib.Path('{worktree}'))\n"
        "anyio.run(m)"
    )
    harness = await anyio.open_process([sys.executable, "-c", program])
    with anyio.fail_after(15):
        while len(alive(f"sleep\0{seconds}")) < 2:
            await anyio.sleep(0.05)
        harness.send_signal(signal.SIGKILL)
        await harness.wait()
        while alive(seconds):
            await anyio.sleep(0.05)


async def test_a_fork_bomb_is_bounded(do: Do) -> None:
    began = time.monotonic()
    done = await do("bomb() { bomb | bomb & }; bomb; sleep 30; echo survived", 12)
    assert "survived" not in done.stdout and not done.ok
    assert time.monotonic() - began < 15
    assert await gone("bomb() {")


async def test_files_and_memory_are_bounded(do: Do, sandbox: Sandbox, worktree: Path) -> None:
    await do("head -c 20000000 /dev/zero > big")
    assert (worktree / "big").stat().st_size <= 4 * 2**20
    hungry = Sandbox(**{**sandbox.__dict__, "memory_mb": 300})
    done = await hungry.run("python -c 'x = bytearray(2**30); print(len(x))'", worktree, 15)
    assert not done.ok and "MemoryError" in done.stderr


async def test_processes_outside_cannot_be_signalled(do: Do) -> None:
    outside = await anyio.open_process(["sleep", "60"])
    try:
        await do(f"kill -9 {outside.pid}; kill -9 {os.getpid()}; kill -9 -1")
        await anyio.sleep(0.1)
        assert outside.returncode is None
    finally:
        outside.kill()
        await outside.wait()


async def test_no_capability_is_left(do: Do) -> None:
    status = (await do("cat /proc/self/status")).stdout
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert f"{name}:\t{'0' * 16}" in status
    assert "NoNewPrivs:\t1" in status


async def test_a_terminal_is_not_inherited(do: Do) -> None:
    assert not (await do("echo x > /dev/tty")).ok
