"""What every Tracker promises, whatever keeps its issues.

A test module derives from TrackerContract and provides the fixture `open_tracker`: a callable that returns a tracker
over one empty set of issues, another instance each time, as another process would have it.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from harness.errors import IssueNotFound
from harness.protocols import Tracker, Wanted
from harness.types import Issue

Open = Callable[[], Tracker]

ODD = "-x \"quoted\" 'single' $HOME `id` é 漢 100%"


def an_issue(title: str, **fields: object) -> Issue:
    return Issue.model_validate({"id": "", "title": title, **fields})


async def make(tracker: Tracker, title: str, **fields: object) -> str:
    return await tracker.file(an_issue(title, **fields), "", "author")


class TrackerContract:
    async def test_an_issue_comes_back_as_it_was_filed(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        body = "-- first line\n\n  indented\ttab, ünï, a | b"
        filed = an_issue(ODD, body=body, labels=("model:haiku", "a,b"), type="bug", priority=0)
        found = await tracker.get(await tracker.file(filed, "", "author"))
        assert (found.title, found.body, found.type, found.priority) == (ODD, body, "bug", 0)
        assert set(found.labels) == {"model:haiku", "a,b"}
        assert (found.status, found.assignee, found.blocked_by, found.parent) == ("open", None, (), None)
        assert found.created_at is not None and found.created_at.tzinfo is not None
        assert found.source == tracker.name

    async def test_an_unknown_id_is_named(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        await make(tracker, "one")
        for call in (
            tracker.get("tt-nope"),
            tracker.claim("tt-nope", "w"),
            tracker.comment("tt-nope", "text", "w"),
            tracker.close("tt-nope", "done", "w"),
            tracker.release("tt-nope", "why", "w"),
        ):
            with pytest.raises(IssueNotFound, match="tt-nope"):
                await call

    async def test_ready_is_sorted_by_urgency_then_age(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        assert await tracker.ready(Wanted()) == []
        later = await make(tracker, "later", priority=3)
        # Beads keeps whole seconds in places; the second urgent one must be visibly younger.
        urgent = await make(tracker, "urgent", priority=0)
        await anyio.sleep(1.1)
        urgent_too = await make(tracker, "urgent too", priority=0)
        ready = await tracker.ready(Wanted())
        assert [issue.id for issue in ready] == [urgent, urgent_too, later]
        assert [issue.id for issue in await tracker.ready(Wanted(limit=1))] == [urgent]

    async def test_ready_takes_only_what_is_wanted(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        both = await make(tracker, "both", labels=("x", "y"))
        one = await make(tracker, "one", labels=("x",), type="bug")
        assert {issue.id for issue in await tracker.ready(Wanted(labels=("x",)))} == {both, one}
        assert [issue.id for issue in await tracker.ready(Wanted(labels=("x", "y")))] == [both]
        assert [issue.id for issue in await tracker.ready(Wanted(types=("bug", "chore")))] == [one]
        assert [issue.id for issue in await tracker.ready(Wanted(exclude=(one,)))] == [both]

    async def test_a_blocked_issue_waits_for_its_blocker(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        first = await make(tracker, "first")
        second = await make(tracker, "second", blocked_by=(first,))
        assert (await tracker.get(second)).blocked_by == (first,)
        assert [issue.id for issue in await tracker.ready(Wanted())] == [first]
        await tracker.close(first, "done", "w")
        assert (await tracker.get(second)).blocked_by == ()
        assert [issue.id for issue in await tracker.ready(Wanted())] == [second]

    async def test_a_discovery_does_not_block(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        work = await make(tracker, "work")
        found = await tracker.file(an_issue("found on the way"), work, "w")
        assert (await tracker.get(found)).blocked_by == ()
        assert {issue.id for issue in await tracker.ready(Wanted())} == {work, found}

    async def test_an_epic_has_children_with_their_dependencies(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        epic = await make(tracker, "epic", type="epic")
        model = await make(tracker, "model", parent=epic)
        view = await make(tracker, "view", parent=epic, blocked_by=(model,))
        other = await make(tracker, "other")
        children = await tracker.children(epic)
        assert {child.id: child.blocked_by for child in children} == {model: (), view: (model,)}
        assert {child.parent for child in children} == {epic}
        assert await tracker.children(other) == []
        ready = {issue.id: issue.parent for issue in await tracker.ready(Wanted())}
        assert ready == {epic: None, model: epic, other: None}
        assert [issue.id for issue in await tracker.ready(Wanted(parent=epic))] == [model]

    async def test_a_claim_is_seen_by_others(self, open_tracker: Open) -> None:
        mine, theirs = open_tracker(), open_tracker()
        issue = await make(mine, "work")
        assert await mine.claim(issue, "me")
        assert not await theirs.claim(issue, "them")
        assert await mine.claim(issue, "me"), "claiming twice is holding once"
        held = await theirs.get(issue)
        assert (held.status, held.assignee) == ("in_progress", "me")
        assert await theirs.ready(Wanted()) == []

    async def test_a_closed_issue_cannot_be_claimed(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        issue = await make(tracker, "work")
        await tracker.close(issue, "-done: 100%", "me")
        await tracker.close(issue, "again", "me")
        assert (await tracker.get(issue)).status == "closed"
        assert not await tracker.claim(issue, "me")

    async def test_of_many_claimers_one_wins(self, open_tracker: Open) -> None:
        issue = await make(open_tracker(), "work")
        won: list[str] = []

        async def race(actor: str) -> None:
            if await open_tracker().claim(issue, actor):
                won.append(actor)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(race, f"worker-{number}")
        assert len(won) == 1
        assert (await open_tracker().get(issue)).assignee == won[0]

    async def test_a_released_issue_can_be_taken_by_others(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        issue = await make(tracker, "work", labels=("kept",))
        await tracker.claim(issue, "me")
        await tracker.release(issue, "-- the tests fail\nin t.py", "me", labels=("harness:failed", "harness:try-2"))
        back = await tracker.get(issue)
        assert (back.status, back.assignee) == ("open", None)
        assert set(back.labels) == {"kept", "harness:failed", "harness:try-2"}
        assert [found.id for found in await tracker.ready(Wanted())] == [issue]
        assert await open_tracker().claim(issue, "them")

    async def test_release_takes_nothing_from_somebody_else(self, open_tracker: Open) -> None:
        tracker = open_tracker()
        taken, closed = await make(tracker, "taken"), await make(tracker, "closed")
        await tracker.claim(taken, "them")
        await tracker.close(closed, "done", "them")
        await tracker.release(taken, "late", "me")
        await tracker.release(closed, "late", "me")
        assert (await tracker.get(taken)).assignee == "them"
        assert (await tracker.get(closed)).status == "closed"
