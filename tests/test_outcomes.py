"""The store of outcomes: sums never out of step, ratings kept, other people's files refused."""

from __future__ import annotations

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import JournalError
from harness.outcomes import FILE, Outcomes
from harness.records import Sum, nano, usd
from tests.fakes.outcomes import make_history, make_outcome, make_run_outcome


def sums_by_hand(store: Outcomes) -> dict[tuple[str, str, int], tuple[int, int, int]]:
    found: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    for one in store.latest():
        for key in one.keys:
            place = (key, one.tier, one.at // 86_400)
            before = found.get(place, (0, 0, 0))
            fresh = one.ends and one.counts and not one.escalated
            found[place] = (before[0] + 1, before[1] + fresh, before[2] + int(fresh and one.success))
    return found


def sums_kept(store: Outcomes) -> dict[tuple[str, str, int], tuple[int, int, int]]:
    return {(item.key, item.tier, item.day): (item.attempts, item.stays, item.solved) for item in store.sums()}


def test_sums_are_those_of_the_rows(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        for run, rows in make_history(300):
            store.put(run, rows)
        assert sums_kept(store) == sums_by_hand(store)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "forget", "rate"]), st.integers(1, 3)), max_size=12
    )
)
def test_sums_stay_in_step_whatever_happens(steps: list[tuple[str, str, int]]) -> None:
    store = Outcomes(Path("/nonexistent"), create=False)
    for run_id, what, size in steps:
        if what == "put":
            rows = [
                make_outcome(1, id=f"{run_id}{n}", run_id=run_id, attempt=n, success=n % 2) for n in range(1, size + 1)
            ]
            store.put(make_run_outcome(run_id), rows)
        elif what == "rate":
            store.rate(run_id, size)
        else:
            store.forget(run_id)
        assert sums_kept(store) == sums_by_hand(store)
        rated = sum(1 for one in store.latest() if one.rating is not None)
        assert sum(item.rated for item in store.sums(["*"])) == rated
    store.close()


def test_a_rating_survives_recording_again(tmp_path: Path) -> None:
    outcome = make_outcome(1, quality=3.0)
    with Outcomes(tmp_path) as store:
        store.put(make_run_outcome("run-1"), [outcome])
        assert [one.rating for one in store.rate(outcome.id[:6], 5, "fine work")] == [5]
        store.put(make_run_outcome("run-1"), [outcome])
        [kept] = store.latest()
        assert (kept.rating, kept.notes) == (5, "fine work")
        [root] = store.sums(["*"])
        assert (root.rated, root.quality) == (1, 5.0), "a person's rating stands above the review's"


def test_find_by_id_beginning_run_and_issue(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        store.put(make_run_outcome("run-1"), [make_outcome(1)])
        store.put(make_run_outcome("run-2"), [make_outcome(2)])
        one = make_outcome(1)
        for name in (one.id, one.id[:7], "run-1", "i-1"):
            assert [found.run_id for found in store.find(name)] == ["run-1"]
        assert store.find("nothing") == []
        assert store.find("") == []


def test_a_failed_write_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        store.put(make_run_outcome("run-1"), [make_outcome(1)])
        before = store.sums()
        with pytest.raises(JournalError):
            store.put(make_run_outcome("run-1"), [make_outcome(1), make_outcome(1)])
        assert store.sums() == before
        assert len(list(store.latest())) == 1


def test_many_workers_at_once_lose_nothing(tmp_path: Path) -> None:
    def work(worker: int) -> None:
        for number in range(12):
            name = f"w{worker}-{number}"
            with Outcomes(tmp_path) as store:
                store.put(make_run_outcome(name), [make_outcome(1, id=name, run_id=name)])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    with Outcomes(tmp_path) as store:
        assert len(list(store.latest())) == 72
        assert [item.stays for item in store.sums(["*"])] == [72]


def test_scripted_work_is_summed_apart(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        store.put(make_run_outcome("run-1", scripted=1), [make_outcome(1, scripted=1)])
        assert store.sums() == []
        assert sum(item.attempts for item in store.sums(["*"], scripted=True)) == 1


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    Outcomes(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(JournalError, match="another program's"):
        Outcomes(tmp_path)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    Outcomes(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="version 99"):
        Outcomes(tmp_path)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all, by any means" * 40)
    with pytest.raises(JournalError, match="damaged"):
        Outcomes(tmp_path)


def test_looking_makes_no_file(tmp_path: Path) -> None:
    with Outcomes(tmp_path, create=False) as store:
        assert store.sums() == []
    assert not list(tmp_path.iterdir())


def test_money_is_exact() -> None:
    assert usd(nano(Decimal("1.06376125"))) == Decimal("1.06376125")
    assert nano(Decimal("0.0000001")) == 100


def test_days_of_one_key_add_up(tmp_path: Path) -> None:
    with Outcomes(tmp_path) as store:
        for number in range(3):
            store.put(make_run_outcome(f"run-{number}"), [make_outcome(number, at=1_795_000_000 + 86_400 * number)])
        items: list[Sum] = store.sums(["*"])
        assert [item.stays for item in items] == [1, 1, 1]
