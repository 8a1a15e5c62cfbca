"""The command line: one table of commands, one error boundary.

Each command is a module here with `configure(parser)` and `run(arguments) -> int`; only the chosen one is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from harness import __version__
from harness.errors import HarnessError, Interrupted, MachineError, did_you_mean
from harness.strangers import visible

# Looking for pydantic plugins costs 25 ms a start, and nobody wants one here; pydantic reads this when it is imported.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("harness.cli.init", "set up this repository: harness.yaml, .harness/, hooks"),
    "route": ("harness.cli.route", "which tier, pipeline and rule an issue gets, and what it costs"),
    "plan": ("harness.cli.plan", "ask the planner for an issue's task graph, and show it"),
    "run": ("harness.cli.run", "take one issue to reviewed, merged code"),
    "work": ("harness.cli.work", "work off the queue, once or as a daemon"),
    "worker": ("harness.cli.worker", "serve tasks of a distributed queue on this machine"),
    "runs": ("harness.cli.runs", "list runs"),
    "show": ("harness.cli.show", "show one run: tasks, attempts, cost, findings"),
    "resume": ("harness.cli.resume", "go on with an interrupted run; nothing is paid twice"),
    "cancel": ("harness.cli.cancel", "stop a run; what is finished is kept"),
    "forget": ("harness.cli.forget", "delete all that is stored about a run"),
    "serve": ("harness.cli.serve", "the LLM gateway and the console"),
    "convoy": ("harness.cli.convoy", "deploy a Gas Town convoy: plan, swarm, review"),
    "sling": ("harness.cli.sling", "route one issue and hand it to a Gas Town rig"),
    "stats": ("harness.cli.stats", "the metrics against their targets, savings, trend"),
    "experiments": ("harness.cli.experiments", "list, rate, export or run routing experiments"),
    "report": ("harness.cli.report", "an HTML report of a run or of a period"),
    "doctor": ("harness.cli.doctor", "what is installed, what works, and what fixes the rest"),
    "config": ("harness.cli.config", "check a configuration, or import another tool's"),
    "demo": ("harness.cli.demo", "work a small real queue with a scripted model; no key, no server"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    0 accepted · 1 not accepted (failed, rejected, over budget) · 2 the user can fix it · 3 a bug · 130 interrupted.
    """
    _open_standard_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except HarnessError as error:
        return _complain(error, "--json" in arguments)
    except KeyboardInterrupt:
        return _complain(Interrupted("interrupted"), "--json" in arguments)
    except BrokenPipeError:
        # The reader has seen enough (`harness runs | head`); closing quietly is what it wants.
        _silence_output()
        return 128 + signal.SIGPIPE
    except Exception as error:  # the one boundary: whatever arrives here is a bug of ours
        only = _only(error)
        inner = MachineError.of(only) or only
        if isinstance(inner, KeyboardInterrupt):
            inner = Interrupted("interrupted")
        if isinstance(inner, HarnessError):
            return _complain(inner, "--json" in arguments)
        sys.excepthook(type(error), error, error.__traceback__)
        print("This is a bug in harness. Please report it with the lines above.", file=sys.stderr)
        return 3


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"harness {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(_overview(), end="\n\n", file=sys.stderr)
        raise HarnessError(f"unknown command '{name}'{did_you_mean(name, COMMANDS)}", "harness --help lists them")
    module = _loaded(COMMANDS[name][0])
    parser = _Parser(
        prog=f"harness {name}",
        description=COMMANDS[name][1][0].upper() + COMMANDS[name][1][1:] + ".",
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=_Help,
        allow_abbrev=False,
    )
    module.configure(parser)
    return int(module.run(parser.parse_args(rest)) or 0)


def _loaded(name: str) -> ModuleType:
    """A command's module. What importing makes, stays: garbage is not looked for meanwhile, nor in it afterwards."""
    if name not in sys.modules:
        gc.disable()
        try:
            importlib.import_module(name)
            gc.freeze()
        finally:
            gc.enable()
    return sys.modules[name]


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {help_text}" for name, (_, help_text) in COMMANDS.items())
    return (
        "usage: harness COMMAND [options]\n\n"
        "Takes issues from a queue to reviewed, merged code with the cheapest model that gets each piece right.\n\n"
        f"commands:\n{lines}\n\nharness COMMAND --help shows a command's options and an example."
    )


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse makes one for every option, and imports archive formats to measure it."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (OSError, ValueError):
            columns = 80
        super().__init__(prog, width=columns - 2)


class _Parser(argparse.ArgumentParser):
    """Tells bad options as every other error is told, so that `--json` gets its document then, too."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise HarnessError(message, f"{self.prog} --help")


def _open_standard_streams() -> None:
    """Put /dev/null where a parent closed one: the next file opened would take its number, and get what is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number, inheritable=True)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def _complain(error: HarnessError, as_json: bool) -> int:
    """Tell an error, and return its exit code, whoever can still be told."""
    with contextlib.suppress(OSError):
        print(f"harness: {visible(str(error))}", file=sys.stderr)
    try:
        if as_json:
            print(json.dumps({"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}}))
        sys.stdout.flush()
    except OSError:
        _silence_output()
    return error.exit_code


def _silence_output() -> None:
    """What is still to be printed goes nowhere: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _only(error: BaseException) -> BaseException:
    """The one error inside nested groups of one, as task groups make them; otherwise the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        expected = [inner for inner in error.exceptions if isinstance(inner, HarnessError)]
        if len(expected) == len(error.exceptions):
            return expected[0]
    return error
