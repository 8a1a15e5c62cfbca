"""Real Beads databases for the plugins' tests: the trackers' own."""

from __future__ import annotations

from tests.trackers.conftest import template as template
from tests.trackers.conftest import with_bd as with_bd
