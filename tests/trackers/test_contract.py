"""The tracker contract over the JSON Lines file and the real `bd` of both generations."""

from __future__ import annotations

from tests.contracts.tracker import TrackerContract


class TestTrackers(TrackerContract):
    pass
