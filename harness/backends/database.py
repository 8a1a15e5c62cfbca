"""The harness's own tables in PostgreSQL, beside those of DBOS, and one connection to them that outlives its breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from harness.errors import HarnessError

LOCK = 0x4861726E657373
"""PostgreSQL advisory lock of whoever makes the tables or looks for dead workers."""
TABLES = """
CREATE SCHEMA IF NOT EXISTS harness;
CREATE TABLE IF NOT EXISTS harness.workers (
    worker text PRIMARY KEY, queue text NOT NULL, slots int NOT NULL,
    started timestamptz NOT NULL DEFAULT now(), seen timestamptz NOT NULL DEFAULT now(), lease interval NOT NULL);
CREATE TABLE IF NOT EXISTS harness.takeovers (
    workflow text PRIMARY KEY, times int NOT NULL, steps int NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS harness.events (
    number bigserial PRIMARY KEY, project text NOT NULL, run text NOT NULL, task text NOT NULL, value text NOT NULL,
    at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS events_of_task ON harness.events (project, run, task, number);
CREATE TABLE IF NOT EXISTS harness.steps (
    project text NOT NULL, run text NOT NULL, key text NOT NULL, value text NOT NULL, worker text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (project, run, key));
CREATE TABLE IF NOT EXISTS harness.packs (
    number bigserial PRIMARY KEY, project text NOT NULL, run text NOT NULL, job text NOT NULL, pack bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS packs_of_job ON harness.packs (project, run, job, number);
"""


class DatabaseDown(HarnessError):
    """PostgreSQL cannot be reached."""


class Database:
    """One connection, used by one statement or transaction at a time; made anew when it broke.

    Raises DatabaseDown when there is no connecting, psycopg.OperationalError when it breaks in between.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._db: AsyncConnection[TupleRow] | None = None
        self._lock = anyio.Lock()

    def another(self) -> Database:
        """A connection more to the same database."""
        return Database(self._url)

    async def prepare(self) -> None:
        """Make the tables; safe for many at once."""
        async with self.transaction() as cursor:
            await cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            await cursor.execute(TABLES)

    async def do(self, statement: str, *values: object) -> Sequence[TupleRow]:
        """The rows of one statement."""
        async with self._lock:
            db = await self._connected()
            cursor = await db.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncCursor[TupleRow]]:
        """All or nothing of what is done with the cursor."""
        async with self._lock:
            db = await self._connected()
            async with db.transaction(), db.cursor() as cursor:
                yield cursor

    async def aclose(self) -> None:
        if self._db is not None:
            await self._db.close()
            self._db = None

    async def _connected(self) -> AsyncConnection[TupleRow]:
        if self._db is not None and (self._db.broken or self._db.closed):
            await self.aclose()
        if self._db is None:
            try:
                self._db = await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=10)
            except psycopg.OperationalError as error:
                said = str(error).splitlines()[0]
                cure = "is it running, and is --database right? try: psql URL -c 'select 1'"
                raise DatabaseDown(f"cannot reach the database: {said}", cure) from None
        return self._db
