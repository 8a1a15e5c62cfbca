"""The journal: one make per name, nothing lost, nothing secret, and a clear word when the file cannot serve."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from harness.errors import JournalError
from harness.journal import SqliteJournal
from harness.types import Event, Issue, Pipeline, RouteDecision, Run, Text, Usage

KEY = "sk-ant-" + "a1B2" * 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
async def journal(file: Path) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(file)
    yield made
    await made.aclose()


class Counter:
    """Makes a value, and counts how often it was asked."""

    def __init__(self, value: object, seconds: float = 0.0) -> None:
        self.value, self.seconds, self.made = value, seconds, 0

    async def __call__(self) -> object:
        self.made += 1
        await anyio.sleep(self.seconds)
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def a_run(name: str, **changes: object) -> Run:
    route = RouteDecision(tier="haiku", model="a/b", pipeline="single", strategy="default", rule="r", reason="")
    start = datetime(2026, 1, 1, int(name[-1]), tzinfo=UTC)
    run = Run(
        id=name, issue=Issue(id="i", title="t"), route=route, pipeline=Pipeline(name="p", phases=()), started_at=start
    )
    return run.grown(**changes)


def an_event(run_id: str, kind: str) -> Event:
    return Event(run_id=run_id, kind=kind, at=datetime.now(UTC))


async def test_a_recorded_step_is_read_and_not_made_again(file: Path) -> None:
    make = Counter(Usage(requests=3))
    first = SqliteJournal(file)
    assert await first.step("r", "execute/t1", Usage, make) == Usage(requests=3)
    await first.aclose()
    second = SqliteJournal(file)
    assert await second.step("r", "execute/t1", Usage, make) == Usage(requests=3)
    assert await second.look("r", "execute/t1", Usage) == Usage(requests=3)
    assert await second.look("r", "execute/t2", Usage) is None
    await second.aclose()
    assert make.made == 1


async def test_any_type_with_a_json_form_is_kept(journal: SqliteJournal) -> None:
    value = {"a": (Text(text="ünï\0code"),), "b": ()}
    kind = dict[str, tuple[Text, ...]]
    assert await journal.step("r", "k", kind, Counter(value)) == value
    assert await journal.look("r", "k", kind) == value


async def test_one_name_asked_twenty_times_at_once_is_made_once(journal: SqliteJournal) -> None:
    make = Counter(7, seconds=0.02)
    got: list[int] = []

    async def ask() -> None:
        got.append(await journal.step("r", "k", int, make))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert (make.made, got) == (1, [7] * 20)


async def test_a_failed_make_leaves_no_row_and_the_next_one_tries(journal: SqliteJournal) -> None:
    with pytest.raises(ZeroDivisionError):
        await journal.step("r", "k", int, Counter(ZeroDivisionError()))
    assert await journal.step("r", "k", int, Counter(2)) == 2


async def test_a_cancelled_make_records_nothing(journal: SqliteJournal) -> None:
    make = Counter(1, seconds=30)
    with anyio.move_on_after(0.05) as scope:
        await journal.step("r", "k", int, make)
    assert scope.cancelled_caught
    assert make.made == 1
    assert await journal.look("r", "k", int) is None


async def test_what_was_made_is_recorded_even_when_cancelled_at_that_moment(journal: SqliteJournal) -> None:
    with anyio.CancelScope() as scope:

        async def make() -> int:
            scope.cancel()
            return 5

        await journal.step("r", "k", int, make)
    assert await journal.look("r", "k", int) == 5


async def test_a_waiting_call_takes_over_when_the_first_is_cancelled(journal: SqliteJournal) -> None:
    slow, quick = Counter(1, seconds=30), Counter(2)
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.05):
            await journal.step("r", "k", int, slow)
        group.cancel_scope.deadline = anyio.current_time() + 5
        assert await journal.step("r", "k", int, quick) == 2


async def test_two_processes_share_a_file_and_the_first_record_stands(file: Path) -> None:
    here, there = SqliteJournal(file), SqliteJournal(file)

    async def late() -> int:
        await there.step("r", "k", int, Counter(1))
        return 2

    assert await here.step("r", "k", int, late) == 1
    assert await here.look("r", "k", int) == 1
    await here.aclose()
    await there.aclose()


@pytest.mark.parametrize("round_", range(3))
async def test_sigkill_loses_nothing_that_was_returned(file: Path, round_: int) -> None:
    script = (
        "import anyio, sys\nfrom harness.journal import SqliteJournal\n"
        "async def one(n):\n return n\n"
        "async def main():\n"
        " journal = SqliteJournal(sys.argv[1])\n"
        " for n in range(10**6):\n"
        "  await journal.step('r', f'k{n}', int, lambda n=n: one(n))\n"
        "  print(n, flush=True)\n"
        "anyio.run(main)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20 + 13 * round_):
        last = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    last = (process.stdout.read().split() or [last])[-1]
    process.wait()
    process.stdout.close()
    journal = SqliteJournal(file)
    for number in range(int(last) + 1):
        assert await journal.look("r", f"k{number}", int) == number
    await journal.aclose()


async def test_credentials_are_redacted_in_the_file_and_intact_in_hand(journal: SqliteJournal, file: Path) -> None:
    said = await journal.step("r", "k", dict[str, str], Counter({"said": f"use {KEY} now"}))
    await journal.save(a_run("r1", error=f"401 for {KEY}"))
    journal.note(an_event("r1", "x").model_copy(update={"data": {"deep": [{"er": KEY}]}}))
    assert said == {"said": f"use {KEY} now"}
    assert await journal.look("r", "k", dict[str, str]) == {"said": "use [redacted] now"}
    await journal.aclose()
    content = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert KEY.encode() not in content
    assert content.count(b"[redacted]") >= 3


async def test_runs_are_listed_newest_first_and_by_state(journal: SqliteJournal) -> None:
    for name, status in (("r1", "done"), ("r2", "running"), ("r3", "interrupted"), ("r4", "failed")):
        await journal.save(a_run(name, status=status))
    await journal.save(a_run("r2", status="running", error="grown"))
    assert [run.id for run in await journal.runs()] == ["r4", "r3", "r2", "r1"]
    assert [run.id for run in await journal.runs(active=True)] == ["r3", "r2"]
    assert [run.id for run in await journal.runs(limit=1)] == ["r4"]
    await journal.save(a_run("r5", issue=Issue(id="other", title="t")))
    assert [run.id for run in await journal.runs(issue="other")] == ["r5"]
    assert [run.id for run in await journal.runs(issue="i", limit=1)] == ["r4"]
    began = datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert [run.id for run in await journal.runs(since=began)] == ["r5", "r4", "r3", "r2"]
    assert [run.id for run in await journal.runs(active=True, since=began + timedelta(hours=1))] == ["r5", "r3"]
    loaded = await journal.load("r2")
    assert loaded is not None
    assert loaded.error == "grown"
    assert await journal.load("nobody") is None


async def test_events_keep_their_order_and_are_seen_by_another_process(journal: SqliteJournal, file: Path) -> None:
    for number in range(300):
        journal.note(an_event("r", f"e{number}"))
    seen = await journal.events("r")
    assert [event.kind for _, event in seen] == [f"e{number}" for number in range(300)]
    assert await journal.events("r", after=seen[-2][0]) == seen[-1:]
    journal.note(an_event("r", "last"))
    console = SqliteJournal(file)
    with anyio.fail_after(5):
        while not await console.events("r", after=seen[-1][0]):
            await anyio.sleep(0.01)
    await console.aclose()


async def test_forget_removes_every_trace(journal: SqliteJournal, file: Path) -> None:
    await journal.step("r1", "k", str, Counter("remember-remember"))
    await journal.step("r2", "k", str, Counter("stays"))
    await journal.save(a_run("r1", error="remember-remember"))
    journal.note(an_event("r1", "remember-remember"))
    assert await journal.forget("r1")
    assert not await journal.forget("r1")
    assert await journal.look("r2", "k", str) == "stays"
    assert await journal.events("r1") == []
    await journal.aclose()
    assert b"remember-remember" not in b"".join(path.read_bytes() for path in file.parent.iterdir())


async def test_keys_tell_what_is_recorded_under_a_prefix(journal: SqliteJournal) -> None:
    for key in ("plan", "execute/t%1/result", "execute/t%1/work", "execute/t2/work"):
        await journal.step("r", key, int, Counter(1))
    assert await journal.keys("r", "execute/t%1/") == ["execute/t%1/result", "execute/t%1/work"]
    assert len(await journal.keys("r")) == 4


async def test_a_value_of_another_shape_names_step_and_cure(journal: SqliteJournal) -> None:
    await journal.step("r", "k", str, Counter("text"))
    with pytest.raises(JournalError, match="step 'k' of run r was recorded by another version") as caught:
        await journal.look("r", "k", Usage)
    assert "harness forget r" in str(caught.value)


async def test_after_close_it_says_so(file: Path) -> None:
    journal = SqliteJournal(file)
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        await journal.look("r", "k", int)


# ── files that cannot serve ───────────────────────────────────────────────────────────────────────────────────


def opened(file: Path, busy_seconds: float = 0.05) -> str:
    with pytest.raises(JournalError) as caught:
        SqliteJournal(file, busy_seconds)
    return str(caught.value)


async def made(file: Path) -> None:
    await SqliteJournal(file).aclose()


def told(file: Path, statement: str) -> None:
    db = sqlite3.connect(file)
    db.execute(statement)
    db.commit()
    db.close()


async def test_a_newer_journal(file: Path) -> None:
    await made(file)
    told(file, "PRAGMA user_version = 99")
    assert "newer harness (journal version 99" in (said := opened(file))
    assert "pip install --upgrade" in said


async def test_an_older_journal(file: Path) -> None:
    await made(file)
    told(file, "PRAGMA user_version = 0")
    assert "older harness" in (said := opened(file))
    assert "mv " in said


def test_another_programs_database(file: Path) -> None:
    file.parent.mkdir()
    told(file, "CREATE TABLE theirs (x)")
    assert "another program's database" in opened(file)


def test_no_database_at_all(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("version: 1\n" * 200)
    assert "is not a journal" in (said := opened(file))
    assert "mv " in said
    assert file.read_text() == "version: 1\n" * 200


async def test_a_damaged_journal(file: Path) -> None:
    journal = SqliteJournal(file)
    for number in range(50):
        await journal.step("r", f"k{number}", str, Counter("x" * 500))
    await journal.aclose()
    with file.open("r+b") as content:
        content.seek(4096)
        content.write(os.urandom(file.stat().st_size - 8192))
    with pytest.raises(JournalError, match="damaged") as caught:
        damaged = SqliteJournal(file)
        try:
            for number in range(50):
                await damaged.look("r", f"k{number}", str)
        finally:
            await damaged.aclose()
    assert "mv " in str(caught.value)


async def test_a_locked_journal(file: Path) -> None:
    await made(file)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    journal = SqliteJournal(file, busy_seconds=0.05)
    with pytest.raises(JournalError, match="locked by another process"):
        await journal.step("r", "k", int, Counter(1))
    holder.execute("ROLLBACK")
    holder.close()
    assert await journal.step("r", "k", int, Counter(1)) == 1
    await journal.aclose()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    assert "cannot be written" in opened(tmp_path / "state" / "journal.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in opened(tmp_path / "journal.db")


async def test_only_the_owner_may_read_it(file: Path, journal: SqliteJournal) -> None:
    await journal.step("r", "k", int, Counter(1))
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}
