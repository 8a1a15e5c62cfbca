"""What verify commands said, and whether it is news: names of failing tests, and failures that were there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.proc import Completed
from harness.types import Check
from harness.verify import OUTPUT_CHARS, baseline_of, failing_tests, failures, judge, run_checks


class Scripted:
    """A sandbox in which every command ends as its table says: exit code and output."""

    def __init__(self, ends: dict[str, tuple[int, str]], timed_out: bool = False) -> None:
        self.ends, self.timed_out = ends, timed_out
        self.ran: list[str] = []

    async def run(
        self, command: str, worktree: Path, *, timeout: float | None = None, merge: bool = False
    ) -> Completed:
        self.ran.append(command)
        code, output = self.ends[command]
        return Completed((command,), code, output, "", 0.1, self.timed_out)


NOISE = "a line of a long log\n" * (OUTPUT_CHARS // 10)

UNITTEST = """\
======================================================================
FAIL: test_total (test_cart.CartTest.test_total)
----------------------------------------------------------------------
AssertionError: 3 != 4
======================================================================
ERROR: test_empty (test_cart.CartTest.test_empty)
----------------------------------------------------------------------
Ran 7 tests in 0.002s

FAILED (failures=1, errors=1)
"""


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("FAILED test_a.py::test_b - assert 1 == 2\nERROR test_c.py\n", ("test_a.py::test_b", "test_c.py")),
        (UNITTEST, ("test_empty (test_cart.CartTest.test_empty)", "test_total (test_cart.CartTest.test_total)")),
        ("FAILED (errors=2)\n", ()),
        ("FAILED (failures=1, errors=1)\n", ()),
        ("--- FAIL: TestAdd (0.00s)\n    --- FAIL: TestAdd/two (0.00s)\nFAIL\n", ("TestAdd", "TestAdd/two")),
        ("test cart::total ... FAILED\ntest cart::empty ... ok\n", ("cart::total",)),
        ("  ✕ adds two (3 ms)\n  ✓ adds three\n", ("adds two",)),
        ("all is well\n", ()),
    ],
)  # fmt: skip
def test_names_of_failing_tests(output: str, names: tuple[str, ...]) -> None:
    assert failing_tests(output) == names


async def test_failing_tests_are_read_from_all_of_the_output() -> None:
    sandbox = Scripted({"make test": (1, "FAILED tests/test_a.py::test_early - x\n" + NOISE)})
    (check,) = await run_checks(sandbox, ("make test", "make test"), Path("."), 60)
    assert sandbox.ran == ["make test"], "a command that stands twice is run once"
    assert "test_early" not in check.output and "characters left out" in check.output
    assert check.failing == ("tests/test_a.py::test_early",)


async def test_a_known_failure_is_known_however_long_the_output() -> None:
    """Once before the work and once after it, with a different test failing at the top of the second output."""
    sandbox = Scripted({"make test": (1, "FAILED tests/test_a.py::test_old\n" + NOISE)})
    baseline = baseline_of(await run_checks(sandbox, ("make test",), Path("."), 60))
    (same,) = judge(await run_checks(sandbox, ("make test",), Path("."), 60), baseline)
    assert same.known_failure and same.ok and failures((same,)) == ""
    sandbox.ends["make test"] = (1, "FAILED tests/test_a.py::test_old\nFAILED tests/test_a.py::test_new\n" + NOISE)
    (worse,) = judge(await run_checks(sandbox, ("make test",), Path("."), 60), baseline)
    assert not worse.known_failure and "$ make test" in failures((worse,))


def test_the_summary_of_unittest_is_no_test() -> None:
    """It changes with the number of failures, and would make every further run look like news."""
    before = baseline_of((Check(command="t", exit_code=1, output="FAILED (errors=1)"),))
    assert before.failing == {"t": ()}
    (after,) = judge((Check(command="t", exit_code=1, output="FAILED (errors=2)"),), before)
    assert after.known_failure, "a failure without names before and after is no news"


def test_what_a_task_promised_is_never_excused() -> None:
    before = baseline_of((Check(command="t", exit_code=1),))
    (check,) = judge((Check(command="t", exit_code=1),), before, own=("t",))
    assert not check.ok


async def test_a_command_that_was_stopped_says_so() -> None:
    (check,) = await run_checks(Scripted({"t": (124, "so far")}, timed_out=True), ("t",), Path("."), 30)
    assert check.output.endswith("(stopped after 30 s)") and not check.ok
