"""`harness worker`: serve tasks of a distributed queue on this machine."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

import anyio
from pydantic import SecretStr

from harness import registry
from harness.cli.common import common_options, put_json, say, settings_from
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
    parser.add_argument("--database", metavar="URL", help="PostgreSQL, as in `database:` of harness.yaml")
    parser.add_argument("--exchange", metavar="REMOTE", help="git remote for commits (default: origin)")
    parser.add_argument(
        "--parallel", type=int, metavar="N", help="tasks at once on this machine (default: max_parallel)"
    )


def run(arguments: argparse.Namespace) -> int:
    database = SecretStr(arguments.database) if arguments.database else None
    settings = settings_from(arguments, backend="local", database=database, exchange=arguments.exchange,
                             max_parallel=arguments.parallel)  # fmt: skip
    # Found by name, so that somebody without the extra is told what to install.
    make: type[Worker] = registry.find("worker", "harness.backends.serving:Worker", {})
    url: str = registry.find("backend", "harness.backends.dbos:database_of", {})(settings)

    async def serve() -> None:
        space = await GitWorkspace.open(settings.root)
        await space.sweep()
        worker = make(url, space.exchange(settings.exchange), settings.max_parallel, settings.lease_seconds)
        async with registry.build(settings, [worker.note]) as deps, anyio.create_task_group() as group:
            say(f"serving {settings.root} as {worker.name}, {worker.slots} tasks at once; Ctrl-C gives them back")
            group.start_soon(worker.serve, deps.backend.run)
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()
                    break

    anyio.run(serve)
    if arguments.json:
        put_json({"served": str(settings.root)})
    return 0
