"""Keeps metrics fresh: fetches each source when it is due, and keeps the last good data when a fetch fails."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import httpx2

from harness.errors import HarnessError
from harness.routing.offline_prices import offline_rates
from harness.routing.selection import BadCatalogue, Metrics, Source, address, parse
from harness.types import Value

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes; models.dev's whole catalogue is about two million."""
RETRY_SECONDS = 60.0
"""How soon a source that failed is asked again, unless it is due earlier."""

KNOWN_MODELS = 10_000
"""Names come from clients, too."""

log = logging.getLogger(__name__)


class FeedStatus(Value):
    """One source, for the operations page and `doctor`."""

    source: str
    """`cost digitalocean`, `latency prometheus`."""
    address: str | None
    models: int
    """With data now."""
    age_seconds: float | None
    """Since the last good answer; None: there was none."""
    problem: str | None
    """What the last fetch failed with; None: it worked."""


class Feeds:
    """Current `metrics` from the configured sources. `run` refreshes for ever; `refresh` asks what is due once.

    `models` are those that routes name: the offline prices are looked up for them. Without a cost source the offline
    prices serve; with one they do not, because two catalogues' prices do not compare.
    """

    def __init__(
        self,
        sources: Sequence[Source] = (),
        models: Iterable[str] = (),
        *,
        client: Callable[[], httpx2.AsyncClient] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._client = client or (
            lambda: httpx2.AsyncClient(timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))
        )
        self._feeds = [_Feed(source) for source in sources if address(source) is not None]
        self._priced = any(feed.source.type == "cost" for feed in self._feeds)
        self._known = set(models)
        self._offline = {} if self._priced else offline_rates(self._known)
        self.metrics = Metrics(rates=self._offline)

    def know(self, models: Iterable[str]) -> None:
        """Look up the offline prices, where they serve, of models that a request brought along."""
        new = [model for model in models if model not in self._known]
        if self._priced or not new or len(self._known) > KNOWN_MODELS:
            return
        self._known.update(new)
        self._offline = {**self._offline, **offline_rates(new)}
        self._combine()

    async def refresh(self) -> float | None:
        """Fetch every source that is due; seconds until the next one is, or None when none will be."""
        due = [feed for feed in self._feeds if feed.due is not None and feed.due <= self._clock()]
        if due:
            async with self._client() as client, anyio.create_task_group() as group:
                for feed in due:
                    group.start_soon(self._fetch, feed, client)
            self._combine()
        waits = [feed.due - self._clock() for feed in self._feeds if feed.due is not None]
        return max(0.0, min(waits)) if waits else None

    async def run(self) -> None:
        """Refresh whenever something is due, until cancelled; returns when nothing will be due again."""
        wait = await self.refresh()
        while wait is not None:
            await anyio.sleep(wait)
            wait = await self.refresh()

    def status(self) -> tuple[FeedStatus, ...]:
        """Every source with the age of its data and its last problem."""
        now = self._clock()
        told = [
            FeedStatus(
                source=f"{feed.source.type} {feed.source.provider}",
                address=address(feed.source),
                models=len(feed.data.rates) + len(feed.data.latency),
                age_seconds=None if feed.fetched is None else now - feed.fetched,
                problem=feed.problem,
            )
            for feed in self._feeds
        ]
        if self._offline:
            told.append(
                FeedStatus(
                    source="cost genai-prices", address=None, models=len(self._offline), age_seconds=0.0, problem=None
                )
            )
        return tuple(told)

    async def _fetch(self, feed: _Feed, client: httpx2.AsyncClient) -> None:
        source = feed.source
        try:
            feed.data = parse(source, await _get(source, client))
        except (httpx2.HTTPError, HarnessError) as error:
            problem = error.message if isinstance(error, HarnessError) else _plain(error)
            kept = "no data yet" if feed.fetched is None else f"keeping data {self._clock() - feed.fetched:.0f} s old"
            log.warning("%s source %s at %s: %s; %s", source.type, source.provider, address(source), problem, kept)
            feed.problem = problem
            feed.due = self._clock() + min(source.refresh_interval or RETRY_SECONDS, RETRY_SECONDS)
            return
        feed.problem, feed.fetched = None, self._clock()
        feed.due = None if source.refresh_interval is None else feed.fetched + source.refresh_interval

    def _combine(self) -> None:
        rates = dict(self._offline)
        latency: dict[str, float] = {}
        for feed in self._feeds:
            rates |= feed.data.rates
            latency |= feed.data.latency
        self.metrics = Metrics(rates=rates, latency=latency)


class _Feed:
    """One source, its last good data, and when it is asked next (None: never again)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.data = Metrics()
        self.fetched: float | None = None
        self.due: float | None = float("-inf")
        self.problem: str | None = None


def _plain(error: httpx2.HTTPError) -> str:
    """One line; httpx2's own text of a status has a URL in it, which may hold a key, and a link about HTTP."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _get(source: Source, client: httpx2.AsyncClient) -> Any:
    """The source's answer as JSON; raises HTTPError or BadCatalogue."""
    place = str(address(source))
    query = {"query": source.query} if source.query else None
    body = bytearray()
    async with client.stream("GET", place, params=query, follow_redirects=True) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > LARGEST_ANSWER:
                raise BadCatalogue(f"{place} answered with more than {LARGEST_ANSWER:,} bytes")
    try:
        return json.loads(body)
    except ValueError:
        raise BadCatalogue(f"{place} did not answer with JSON", "check the source's `url`") from None
