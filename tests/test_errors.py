"""What the machine refuses is the user's to mend, and is told so; what else an OSError says is a bug and flies."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import MachineError


@pytest.mark.parametrize(
    ("number", "said", "cure"),
    [
        (errno.ENOSPC, "No space left on device", "free some space"),
        (errno.EROFS, "Read-only file system", "may write"),
        (errno.EACCES, "Permission denied", "let your user write"),
        (errno.EMFILE, "Too many open files", "ulimit -n"),
    ],
)
def test_a_machine_that_refuses_names_the_place_and_the_cure(number: int, said: str, cure: str) -> None:
    told = MachineError.of(OSError(number, said, "/srv/project/.harness/queue.lock"))
    assert told is not None
    assert told.message == f"/srv/project/.harness/queue.lock: {said}"
    assert cure in (told.hint or "")


def test_an_error_that_says_something_about_the_program_is_none_of_the_machines() -> None:
    assert MachineError.of(OSError(errno.EBADF, "Bad file descriptor")) is None
    assert MachineError.of(ValueError("no space")) is None


def test_a_state_folder_that_nobody_may_write_to_is_no_bug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Not even root may create files in sysfs, so this is a folder without permission for every user.
    (tmp_path / ".harness").symlink_to("/sys/kernel")
    (tmp_path / ".beads").mkdir()
    (tmp_path / ".beads" / "issues.jsonl").touch()
    assert main(["work", "--once", "--json", "-C", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "queue.lock" in err and "bug" not in err
    assert json.loads(out)["error"]["kind"] == "MachineError"
