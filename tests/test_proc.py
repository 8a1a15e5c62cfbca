"""Programs run to their end: output bounded, time bounded, nothing left of the process group."""

from __future__ import annotations

import sys
import time

import anyio
import pytest

from harness.errors import MissingTool
from harness.proc import run
from tests.sandbox.conftest import gone


async def test_streams_apart_or_in_order() -> None:
    script = "echo a; echo b >&2; echo c"
    apart = await run(["sh", "-c", script])
    assert (apart.stdout, apart.stderr, apart.output) == ("a\nc\n", "b\n", "a\nc\nb\n")
    assert (await run(["sh", "-c", script], merge=True)).stdout == "a\nb\nc\n"


async def test_exit_codes_and_signals() -> None:
    assert (await run(["sh", "-c", "exit 3"])).exit_code == 3
    assert (await run(["sh", "-c", "kill -9 $$"])).exit_code == -9


async def test_input_of_any_size_does_not_deadlock() -> None:
    data = b"x" * 3_000_000
    done = await run(["cat"], stdin=data, timeout=10)
    assert len(done.stdout) == len(data)
    assert (await run(["true"], stdin=data, timeout=10)).ok, "a program may ignore its input"


async def test_without_input_there_is_none() -> None:
    assert (await run(["cat"], timeout=5)).ok


async def test_the_middle_of_too_much_output_is_dropped() -> None:
    done = await run(["sh", "-c", "seq 100000; echo end"], output_limit=1000)
    assert done.stdout.startswith("1\n2\n") and done.stdout.endswith("end\n") and len(done.stdout) < 1100
    assert "bytes left out" in done.stdout


async def test_output_that_is_no_utf8_is_replaced() -> None:
    assert (await run(["printf", "a\\377b"])).stdout == "a�b"


async def test_time_out_kills_the_group_and_keeps_what_was_said() -> None:
    seconds = f"300.{time.monotonic_ns()}"
    done = await run(["sh", "-c", f"echo begun; sleep {seconds} & sleep {seconds}"], timeout=0.5)
    assert (done.exit_code, done.timed_out, done.stdout) == (124, True, "begun\n")
    assert await gone(seconds)


async def test_cancellation_kills_the_group() -> None:
    seconds = f"300.{time.monotonic_ns()}"
    with anyio.move_on_after(0.5):
        await run(["sh", "-c", f"sleep {seconds} & sleep {seconds}"])
    assert await gone(seconds)


async def test_grace_lets_a_program_clear_up() -> None:
    program = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('cleared', flush=True), sys.exit(0)))\n"
    done = await run([sys.executable, "-c", program + "print('up', flush=True)\ntime.sleep(60)"], timeout=1.5, grace=5)
    assert done.timed_out
    stubborn = await run(["sh", "-c", "trap '' TERM; sleep 60"], timeout=0.3, grace=0.3)
    assert stubborn.timed_out and stubborn.seconds < 5


async def test_a_daemon_that_holds_the_pipe_does_not_hold_us() -> None:
    began = time.monotonic()
    done = await run(["sh", "-c", "setsid sleep 20 & echo on"], timeout=15)
    assert done.ok and done.stdout == "on\n" and time.monotonic() - began < 8


async def test_lines_come_one_by_one_and_the_last_without_an_end() -> None:
    lines: list[str] = []
    await run(["printf", "one\\ntwo\\n\\nthree"], on_line=lines.append)
    assert lines == ["one", "two", "", "three"]


async def test_what_is_not_there_is_told_apart(tmp_path: object) -> None:
    with pytest.raises(MissingTool, match="cannot run 'no-such-program'") as error:
        await run(["no-such-program"])
    assert "install no-such-program" in (error.value.hint or "")
    with pytest.raises(MissingTool, match="the folder /no/such does not exist"):
        await run(["true"], cwd="/no/such")
