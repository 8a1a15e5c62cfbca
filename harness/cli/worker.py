"""`harness worker`: serve tasks of a distributed queue on this machine."""

from __future__ import annotations

import argparse
import signal
from functools import partial
from typing import TYPE_CHECKING

import anyio

from harness import registry
from harness.budget import Meter
from harness.cli.common import common_options, put_json, say, settings_from
from harness.cli.database import database_from, database_option
from harness.cli.lines import lines, log_option
from harness.cli.options import count
from harness.protocols import Deps, Emit, Steps
from harness.types import Job, TaskResult
from harness.worker import do_job
from harness.workspace import GitWorkspace

if TYPE_CHECKING:
    from harness.backends.serving import Worker

EXAMPLES = """\
example:
  harness worker --database postgresql://harness@db/harness --parallel 4

Run it in a clone of the repository, on as many machines as you like. Ctrl-C gives its tasks back to the queue.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    database_option(parser)
    parser.add_argument("--exchange", metavar="REMOTE", help="git remote for commits (default: origin)")
    log_option(parser)
    parser.add_argument(
        "--parallel", type=count, metavar="N", help="tasks at once on this machine (default: max_parallel)"
    )


def run(arguments: argparse.Namespace) -> int:
    with lines(arguments.log_json) as tell:
        return _run(arguments, tell)


def _run(arguments: argparse.Namespace, tell: Emit) -> int:
    settings = settings_from(arguments, backend="local", database=database_from(arguments),
                             exchange=arguments.exchange, max_parallel=arguments.parallel)  # fmt: skip
    # Found by name, so that somebody without the extra is told what to install.
    make: type[Worker] = registry.find("worker", "harness.backends.serving:Worker", {})
    url: str = registry.find("backend", "harness.backends.dbos:database_of", {})(settings)

    async def serve() -> None:
        space = await GitWorkspace.open(settings.root)
        await space.sweep()
        worker = make(url, space.exchange(settings.exchange), settings.max_parallel, settings.lease_seconds)

        def ready(name: str) -> None:
            say(f"serving {settings.root} as {name}, {worker.slots} tasks at once; Ctrl-C gives them back")

        async with registry.build(settings, [worker.note, tell]) as deps, anyio.create_task_group() as group:
            worker.spans = deps.spans
            do = partial(_do, deps)
            group.start_soon(worker.serve, do, ready)
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()
                    break

    anyio.run(serve)
    if arguments.json:
        put_json({"served": str(settings.root)})
    return 0


async def _do(deps: Deps, job: Job, meter: Meter, steps: Steps) -> TaskResult:
    return await do_job(job, deps, meter, steps)
