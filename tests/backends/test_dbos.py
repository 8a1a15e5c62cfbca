"""DBOS on a real PostgreSQL, real worker processes with their own clones, and SIGKILL."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import psycopg
import pytest
from pydantic import SecretStr

from harness.backends.database import Database
from harness.backends.dbos import DbosBackend, base_ref, client_of, result_ref
from harness.backends.leases import Leases
from harness.backends.serving import tidy
from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import ConfigError, GitError, HarnessError
from harness.types import Event, TaskResult
from harness.workspace import GitWorkspace
from tests.backends.conftest import clone, git
from tests.contracts.backend import BackendContract, a_job

pytestmark = [pytest.mark.needs_postgres, pytest.mark.timeout(180)]

SCRIPT = Path(__file__).with_name("a_worker.py")


class Machines:
    """Worker machines: each a process with its own clone, cache and home."""

    def __init__(self, database: str, remote: Path, folder: Path) -> None:
        self.database, self.remote, self.folder = database, remote, folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.running: list[subprocess.Popen[str]] = []

    def start(
        self, lease: float = 3, seconds: float = 0.05, name: str = "", takeovers: int = 99
    ) -> subprocess.Popen[str]:
        name = name or f"machine{len(self.running)}"
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            clone(self.remote, place / "clone")
        (place / "home").mkdir(exist_ok=True)
        argv = [self.database, place / "clone", place / "cache", self.ledger, str(lease), str(seconds), str(takeovers)]
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, argv)], stdout=subprocess.PIPE, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(place / "home")},
        )  # fmt: skip
        self.running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready"), line + (process.stdout.read() or "")
        return process

    def lines(self, start: str) -> list[str]:
        return [line for line in self.ledger.read_text().splitlines() if line.startswith(start)]

    async def until(self, start: str, count: int = 1) -> list[str]:
        with anyio.fail_after(30):
            while len(found := self.lines(start)) < count:
                await anyio.sleep(0.02)
        return found

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def machines(database: str, remote: Path, tmp_path: Path) -> Iterator[Machines]:
    made = Machines(database, remote, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def office(remote: Path, tmp_path: Path) -> Path:
    """The scheduler's clone."""
    return clone(remote, tmp_path / "office")


@pytest.fixture
def base(office: Path) -> str:
    return git(office, "rev-parse", "HEAD")


async def scheduler(database: str, office: Path) -> DbosBackend:
    return await DbosBackend.start(Settings(database=SecretStr(database), root=office))


@pytest.fixture
async def backend(database: str, office: Path) -> AsyncIterator[DbosBackend]:
    made = await scheduler(database, office)
    yield made
    await made.aclose()


class TestContract(BackendContract):
    @pytest.fixture(autouse=True)
    def _one_machine(self, backend: DbosBackend, machines: Machines) -> None:
        machines.start()

    @pytest.fixture
    def ledger(self, machines: Machines) -> Callable[[str], int]:
        return lambda name: len(machines.lines(f"start {name} "))

    @pytest.fixture
    def mend(self, machines: Machines) -> Callable[[], object]:
        return machines.ledger.with_name("mended").touch


def remote_refs(remote: Path) -> list[str]:
    return git(remote, "for-each-ref", "--format=%(refname)", "refs/harness").split()


async def test_the_commit_arrives_through_the_remote_and_refs_are_cleaned_up(
    machines: Machines, backend: DbosBackend, office: Path, base: str, remote: Path
) -> None:
    machines.start()
    job = a_job("t1", base)
    result = await backend.run(job, Meter())
    assert result.commit is not None
    assert git(office, "show", f"{result.commit}:t1.txt") == "t1"
    assert git(office, "rev-parse", "harness/run-1/t1") == result.commit
    assert remote_refs(remote) == [base_ref(job), result_ref(job)]
    await backend.aclose()
    assert remote_refs(remote) == [base_ref(job)]


async def test_what_a_worker_tells_arrives_once_and_redacted(
    machines: Machines, database: str, office: Path, base: str
) -> None:
    machines.start()
    events: list[Event] = []
    settings = Settings(database=SecretStr(database), root=office)
    backend = await DbosBackend.start(settings, emit=events.append)
    await backend.run(a_job("t1", base), Meter())
    await backend.run(a_job("t1", base), Meter())
    await backend.aclose()
    assert [(event.kind, event.task_id) for event in events] == [("task.started", "t1"), ("task.turn", "t1")]
    assert events[0].data == {"key": "[redacted]"}


async def test_what_a_task_uses_is_counted_while_it_is_worked_and_once(
    machines: Machines, backend: DbosBackend, base: str
) -> None:
    machines.start(seconds=3)
    meter = Meter()
    async with anyio.create_task_group() as group:
        group.start_soon(backend.run, a_job("t1", base), meter)
        with anyio.fail_after(30):
            while not meter.usage.requests:
                await anyio.sleep(0.05)
        assert not machines.lines("done t1")
    assert (meter.usage.requests, meter.usage.output_tokens) == (1, 10)


async def test_a_scheduler_killed_while_waiting_finds_the_result_later(
    machines: Machines, database: str, office: Path, base: str
) -> None:
    first = await scheduler(database, office)
    with anyio.move_on_after(0.5):  # nobody is there to do it
        await first.run(a_job("t1", base), Meter())
    await first.aclose()
    machines.start()
    await machines.until("done t1")
    second = await scheduler(database, office)
    assert (await second.run(a_job("t1", base), Meter())).status == "done"
    await second.aclose()
    assert len(machines.lines("start t1")) == 1


async def test_a_machine_killed_mid_task_is_replaced_within_the_lease(
    machines: Machines, backend: DbosBackend, base: str, remote: Path, office: Path
) -> None:
    doomed = machines.start(lease=3, seconds=60)
    results: list[TaskResult] = []

    async def ask() -> None:
        results.append(await backend.run(a_job("t1", base), Meter()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await machines.until("start t1")
        await asyncio.to_thread(machines.start, 3, 0.05)
        os.kill(doomed.pid, signal.SIGKILL)
        killed = time.monotonic()
    assert time.monotonic() - killed < 3 + 3 / 4 + 5  # the lease, the next look at it, and this busy machine
    assert results[0].status == "done"
    assert git(office, "rev-list", "--count", f"{base}..{results[0].commit}") == "1"
    assert git(remote, "rev-parse", result_ref(a_job("t1", base))) == results[0].commit
    assert len(machines.lines("done t1")) == 1


async def test_a_frozen_machine_kills_its_work_and_publishes_nothing(
    machines: Machines, backend: DbosBackend, base: str, remote: Path
) -> None:
    frozen = machines.start(lease=2, seconds=5)
    results: list[TaskResult] = []

    async def ask() -> None:
        results.append(await backend.run(a_job("t1", base), Meter()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await machines.until("start t1")
        os.kill(frozen.pid, signal.SIGSTOP)
        machines.start(lease=2, seconds=0.05)
    first = int(Path(f"{machines.ledger}.t1.pid").read_text())
    os.kill(frozen.pid, signal.SIGCONT)
    assert await asyncio.to_thread(frozen.wait, 20) == 1
    assert frozen.stdout is not None
    assert "silent for too long" in frozen.stdout.read()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert len(machines.lines("done t1")) == 1
    assert git(remote, "rev-parse", result_ref(a_job("t1", base))) == results[0].commit


async def test_ctrl_c_gives_the_task_back_at_once(machines: Machines, backend: DbosBackend, base: str) -> None:
    polite = machines.start(lease=60, seconds=60)
    results: list[TaskResult] = []

    async def ask() -> None:
        results.append(await backend.run(a_job("t1", base), Meter()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await machines.until("start t1")
        polite.send_signal(signal.SIGINT)
        machines.start(lease=60, seconds=0.05)
    assert results[0].status == "done"
    await asyncio.to_thread(polite.wait, 20)


async def test_a_task_that_kills_its_workers_is_given_up(
    machines: Machines, backend: DbosBackend, base: str, database: str, office: Path
) -> None:
    results: list[TaskResult] = []
    job, tables = a_job("killer", base), Database(database)
    paid_for = f"{job.key}/attempt-1/turn-9/reply"
    project = (await GitWorkspace.open(office)).exchange("origin").project
    await tables.do("INSERT INTO harness.steps VALUES (%s, %s, %s, '{}', 'w')", project, job.run_id, paid_for)

    async def ask() -> None:
        results.append(await backend.run(job, Meter()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(_supervised, machines, results)
    assert results[0].status == "failed"
    assert "outlived" in (results[0].error or "")
    assert len(machines.lines("killed-by")) == 3
    kept = await tables.do("SELECT 1 FROM harness.steps WHERE key = %s", paid_for)
    await tables.aclose()
    assert kept, "whoever asks again does not pay again"


async def _supervised(machines: Machines, results: list[TaskResult]) -> None:
    """What systemd does: a worker that died is started again."""
    while not results:
        process = await asyncio.to_thread(machines.start, 2, 0.05, "same", 2)
        while process.poll() is None and not results:
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_forty_tasks_survive_killing(machines: Machines, backend: DbosBackend, base: str, office: Path,
                                           remote: Path) -> None:  # fmt: skip
    """Two supervised machines, killed at random moments while forty tasks are worked."""
    results: dict[str, TaskResult] = {}
    source, kills = random.Random(5), 0

    async def ask(name: str) -> None:
        results[name] = await backend.run(a_job(name, base), Meter())

    async def supervise(name: str) -> None:
        nonlocal kills
        while len(results) < 40:
            process = await asyncio.to_thread(machines.start, 2, 0.5, name)
            await anyio.sleep(source.uniform(1.2, 3.0))
            if len(results) < 40:
                process.kill()
                kills += 1
                await asyncio.to_thread(process.wait)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(ask, f"t{number}")
        for name in ("east", "west"):
            group.start_soon(supervise, name)
    assert kills >= 3
    assert {result.status for result in results.values()} == {"done"}
    for name, result in results.items():
        assert git(office, "rev-list", "--count", f"{base}..{result.commit}") == "1"
        assert git(office, "show", f"{result.commit}:{name}.txt") == name
    starts = len(machines.lines("start "))
    assert (
        starts <= 40 + 4 * kills
    )  # only what was in flight is done again: two slots a machine, and what was queued up


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_database_no_remote_no_server(office: Path, database: str) -> None:
    with pytest.raises(ConfigError, match="needs a PostgreSQL URL"):
        await DbosBackend.start(Settings(root=office))
    git(office, "remote", "rename", "origin", "elsewhere")
    with pytest.raises(GitError, match="has no remote 'origin'"):
        await scheduler(database, office)
    git(office, "remote", "rename", "elsewhere", "origin")
    with pytest.raises(HarnessError, match="cannot reach the database"):
        await scheduler("postgresql://harness@127.0.0.1:1/x", office)


async def test_nothing_secret_and_nothing_pickled_is_stored(
    machines: Machines, backend: DbosBackend, base: str, database: str
) -> None:
    machines.start()
    key = "sk-ant-" + "a1B2" * 8
    await backend.run(a_job("t1", base, brief=f"the key is {key}"), Meter())
    with psycopg.connect(database) as db:
        tables = db.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('dbos', 'harness')"
        ).fetchall()
        rows = [db.execute(f'SELECT t::text FROM "{schema}"."{table}" t').fetchall() for schema, table in tables]
    stored = str(rows)
    assert "the key is [redacted]" in stored
    assert key not in stored
    assert "done" in stored
    assert "gASV" not in stored  # how base64 of a pickle begins


async def test_old_results_are_deleted_and_young_ones_kept(
    machines: Machines, backend: DbosBackend, base: str, database: str
) -> None:
    machines.start()
    await backend.run(a_job("t1", base), Meter())
    client, tables = await anyio.to_thread.run_sync(client_of, database), Database(database)
    try:
        assert await tidy(client, tables, backend.queue) == 0
        assert await tidy(client, tables, backend.queue, days=-1) == 1
    finally:
        await tables.aclose()
        await anyio.to_thread.run_sync(client.destroy)
    with psycopg.connect(database) as db:
        left = db.execute("SELECT count(*) FROM dbos.workflow_input").fetchone()
    assert left == (0,)


async def test_a_scheduler_without_workers_says_so(
    backend: DbosBackend, base: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("harness.backends.dbos.NOBODY_SECONDS", 0.1)
    with anyio.move_on_after(1.5):
        await backend.run(a_job("t1", base), Meter())
    assert "no worker serves this repository; start one: harness worker" in caplog.text


async def test_the_database_may_restart(
    machines: Machines, backend: DbosBackend, base: str, restart_postgres: Callable[[], None]
) -> None:
    machines.start(lease=20, seconds=4)
    results: list[TaskResult] = []

    async def ask() -> None:
        results.append(await backend.run(a_job("t1", base), Meter()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await machines.until("start t1")
        await anyio.to_thread.run_sync(restart_postgres)
    assert results[0].status == "done"
    assert len(machines.lines("start t1")) == 1


async def test_a_task_that_gets_on_is_not_given_up(database: str) -> None:
    tables = Database(database)
    await tables.prepare()
    leases = Leases(tables)
    assert [await leases.taken_over("p/r/execute/t1") for _ in range(3)] == [1, 2, 3]
    await tables.do("INSERT INTO harness.steps VALUES ('p', 'r', 'execute/t1/attempt-1/turn-1/reply', '{}', 'w')")
    assert [await leases.taken_over("p/r/execute/t1") for _ in range(2)] == [1, 2]
    await tables.do("INSERT INTO harness.steps VALUES ('p', 'r', 'execute/t10/attempt-1/turn-1/reply', '{}', 'w')")
    assert await leases.taken_over("p/r/execute/t1") == 3
    await tables.aclose()


async def test_one_at_a_time_gives_tasks_away(database: str) -> None:
    """Two that saw the same dead worker would both put its task into the queue: the second while it is worked again."""
    first, second = Database(database), Database(database)
    await first.prepare()
    leases = Leases(first)
    await leases.begin("dead", "q", 1, 0.0)
    await leases.begin("alive", "q", 1, 60.0)
    async with leases.alone() as bury:
        assert bury is not None
        assert await leases.renew("alive")  # the signs of life need not wait
        async with Leases(second).alone() as other:
            assert other is None
        assert await bury() == {"alive"}
    async with Leases(second).alone() as other:
        assert other is not None
    for one in (first, second):
        await one.aclose()
