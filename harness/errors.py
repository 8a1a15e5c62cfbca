"""Expected trouble, told in the user's names with what to do next.

    HarnessError                 exit 2 unless said otherwise
    ├── ConfigError              a file, a path in it, what is wrong, what would be right
    ├── UnknownName              a name that nothing answers to, with a suggestion
    ├── MissingTool              a program or package that is not installed, and how to install it
    ├── GitError                 the repository cannot serve (none here, detached, dirty, too old a git)
    ├── TrackerError             the tracker refused or could not be read
    │   └── IssueNotFound
    ├── JournalError             the journal is of another version, locked or damaged
    ├── MachineError             no space left, no permission, too many open files
    ├── SandboxError             no way to confine a program, and no leave to go without
    ├── PlanError                a plan that is no valid graph (exit 1: the model's fault, not the user's)
    ├── ModelError               a model call failed
    │   ├── ModelAuthError       401, 403 or no key: stop at once, tell the cure
    │   ├── ModelRequestError    a 4xx that every model would give
    │   ├── ModelUnavailable     429, 529, 5xx, timeouts, after retries down the whole pool: an outage
    │   └── ModelNonsense        an answer that could not be read
    ├── BudgetExceeded           a bound was reached; everything finished is kept (exit 1)
    ├── NotAccepted              the work did not pass (exit 1)
    └── Interrupted              stopped by the user; resumable (exit 130)

Outcomes (a task failed, a review said no) are data, not errors. Bugs are not caught until `cli`, which exits 3.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterable
from typing import Self


class HarnessError(Exception):
    """Expected trouble: `message` says where and what in the user's names, `hint` what to do next."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class ConfigError(HarnessError):
    """Bad configuration: `pipelines/std.yaml: phases > 3_review > trigger, column 16: expected …`."""

    def __init__(self, where: str, path: Iterable[str | int], problem: str, hint: str | None = None) -> None:
        trail = " > ".join(str(part) for part in path)
        super().__init__(f"{where}: {trail}: {problem}" if trail else f"{where}: {problem}", hint)
        self.where, self.path, self.problem = where, tuple(path), problem


class UnknownName(HarnessError):
    """`unknown tracker 'bead'; known: beads, jsonl — did you mean 'beads'?`"""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str | None = None) -> None:
        names = sorted(known)
        super().__init__(
            f"unknown {kind} '{name}'; known: {', '.join(names) or 'none'}{did_you_mean(name, names)}", hint
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` — did you mean 'beads'?`, or nothing when no known name is near."""
    near = importlib.import_module("difflib").get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" — did you mean '{near[0]}'?" if near else ""


class MissingTool(HarnessError):
    """A program or package is not installed; `hint` installs it."""


class GitError(HarnessError):
    """The repository cannot serve for what was asked."""


class TrackerError(HarnessError):
    """The tracker refused, or could not be read."""


class IssueNotFound(TrackerError):
    """No issue of that id."""


class JournalError(HarnessError):
    """The journal is of another version, locked or damaged."""


_ROOM = "free some space, then the same command again: what is finished is kept"
_RIGHTS = "let your user write there, or run as the user that owns it"
_MACHINE_CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "give the harness a folder that it may write to",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EMFILE: "allow more open files (ulimit -n 4096), or lower `max_parallel` and `queue.parallel_issues`",
    errno.ENFILE: "the whole machine has too many files open: close something, then the same command again",
    errno.ENOMEM: "lower `max_parallel` and `queue.parallel_issues`, then the same command again",
}


class MachineError(HarnessError):
    """The machine refused: no space left, no permission, too many open files."""

    @classmethod
    def of(cls, error: BaseException) -> Self | None:
        """What an OSError says of the machine, or None for one that says something about the program."""
        if not isinstance(error, OSError) or not (cure := _MACHINE_CURES.get(error.errno or 0)):
            return None
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{error.strerror}", cure)


class SandboxError(HarnessError):
    """A program cannot be confined here."""


class PlanError(HarnessError):
    """A plan is no valid graph; `problems` are sentences a planner can act on."""

    exit_code = 1

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the plan is not valid: " + "; ".join(self.problems))


class ModelError(HarnessError):
    """A model call failed."""

    exit_code = 1


class ModelAuthError(ModelError):
    """401, 403, or no key at all: nothing will get better by waiting."""

    exit_code = 2


class ModelRequestError(ModelError):
    """A 4xx that every model would give."""


class ModelUnavailable(ModelError):
    """The whole pool is rate-limited, overloaded or out of reach: an outage, not a failure of the work.

    `retry_after` is in seconds, where a provider said so.
    """

    def __init__(self, message: str, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class ModelNonsense(ModelError):
    """A model's answer could not be read as what was asked for."""


class BudgetExceeded(HarnessError):
    """A bound was reached. What is finished is kept; the same command with a larger bound goes on."""

    exit_code = 1


class NotAccepted(HarnessError):
    """The work did not pass."""

    exit_code = 1


class Interrupted(HarnessError):
    """Stopped by the user; `harness resume` goes on."""

    exit_code = 130
