"""Carry a request down its chain of models until one answers, and the answer back as it comes.

A model is left for the next on 429, 5xx, no connection, or an error before the first byte; never after a byte has been
sent, never for a 4xx that every model would give. Each model is tried once.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from harness.config.targets import Target, WireName
from harness.gateway.conversation import estimated_tokens
from harness.gateway.exchange import HOP_BY_HOP, Asked, Decision, Record
from harness.gateway.filters import Filters
from harness.gateway.hints import Hints
from harness.gateway.limits import RateLimiter
from harness.gateway.prepare import Sendable, prepare
from harness.gateway.refusal import Refusal
from harness.gateway.sse import begun, whole_events
from harness.gateway.translate import error_in
from harness.gateway.translate.stream_in import read_stream
from harness.gateway.upstream import Reply, Unreachable, Upstream, gathered
from harness.models.wire_usage import StreamTap, usage_from
from harness.types import Usage

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_MISTAKE = frozenset((400, 422))
_RETRY = frozenset((408, 429, 500, 502, 503, 504, 520, 522, 524, 529))


@dataclass
class Relay:
    """Sends requests upstream; `failed`, `answered` hear how each model did."""

    upstream: Upstream
    via: str
    failed: Callable[[str, str, float | None], None]
    answered: Callable[[str], None]
    limiter: RateLimiter
    filters: Filters
    hints: Hints = field(default_factory=Hints)

    async def carry(self, asked: Asked, decision: Decision, record: Record, send: Send) -> None:
        """Answer the client; raises Refusal before anything was sent, never after."""
        reply, sent, first = await self._first_answer(asked, decision, record)
        try:
            record.model, record.status = sent.target.name, reply.status
            record.translated = sent.translation is not None
            headers = _answer_headers(reply, sent, decision)
            if reply.streams and reply.status < 400:
                await self._stream(asked, reply, first, sent, headers, record, send)
            else:
                await self._whole(asked, reply, first, sent, headers, record, send)
        finally:
            reply.close()

    async def count_tokens(self, asked: Asked, target: Target | None) -> bytes | None:
        """The provider's own count, as its JSON; None where it has no such endpoint, no key, or trouble."""
        if target is None or target.provider != "anthropic" or target.missing_key or "messages" not in target.urls:
            return None
        sent = prepare(asked, target, self.via)
        if not {"x-api-key", "authorization"} & set(sent.headers):
            return None
        try:
            reply = await self.upstream.post(f"{target.urls['messages']}/count_tokens", sent.headers, sent.body)
        except Unreachable:
            return None
        try:
            return await reply.read() if reply.status == 200 else None
        except Unreachable:
            return None
        finally:
            reply.close()

    async def _first_answer(
        self, asked: Asked, decision: Decision, record: Record
    ) -> tuple[Reply, Sendable, AsyncIterator[bytes]]:
        """The first model that begins to answer. When none does: its own last error reply, or a Refusal."""
        trouble: list[str] = []
        refused: Refusal | None = None
        last = len(decision.targets) - 1
        tokens = estimated_tokens(asked) if self.limiter else 0
        for number, target in enumerate(decision.targets):
            try:
                sent = prepare(asked, target, self.via)
                if (wait := self.limiter.take(target.name, asked.headers, tokens)) is not None:
                    raise Refusal(429, f"{target.name}: its rate limit here is used up", retry_after=wait)
            except Refusal as refusal:  # another model may speak the client's format, or have tokens left
                refused = refused or refusal
                trouble.append(f"{target.name}: {refusal.message}")
                continue
            try:
                reply = await self._post(sent)
                if reply.status in _RETRY and number < last:
                    problem, wait = f"answered {reply.status}", _retry_after(reply)
                    reply.close()
                else:
                    if reply.status in _RETRY:
                        self.failed(target.name, f"answered {reply.status}", _retry_after(reply))
                    elif reply.status < 400:
                        self.answered(target.name)
                    return reply, sent, await begun(reply)
            except Unreachable as error:
                problem, wait = str(error), None
            self.failed(target.name, problem, wait)
            self.limiter.settle(target.name, asked.headers, tokens, 0)
            trouble.append(f"{target.name}: {problem}")
            record.fallbacks.append(trouble[-1])
        if refused is not None and not record.fallbacks:
            raise refused
        raise Refusal(502, "no model could be reached: " + "; ".join(trouble), code="upstream_unavailable")

    async def _post(self, sent: Sendable) -> Reply:
        """Ask a model; what of our translation it refuses without need is left out, and it is asked again."""
        change = sent.translation
        if change is None:
            return await self.upstream.post(sent.url, sent.headers, sent.body)
        body, left_out = self.hints.known(sent.target.name, sent.body)
        while True:
            change.dropped = (*change.dropped, *left_out)
            reply = await self.upstream.post(sent.url, sent.headers, body)
            if reply.status not in _MISTAKE:
                return reply
            lighter = self.hints.refused(sent.target.name, change.provider, body, await reply.peek())
            if lighter is None:
                return reply
            reply.close()
            body, left_out = lighter[0], (lighter[1],)

    async def _whole(
        self,
        asked: Asked,
        reply: Reply,
        first: AsyncIterator[bytes],
        sent: Sendable,
        headers: list[tuple[bytes, bytes]],
        record: Record,
        send: Send,
    ) -> None:
        try:
            body = await gathered(first)
        except Unreachable as error:
            raise Refusal(502, f"{sent.target.name}: {error}", code="upstream_broke_off") from None
        if 300 <= reply.status < 400:
            raise Refusal(502, f"{sent.target.name}: its base_url answers with a redirect", code="upstream_redirect")
        if reply.status < 400:
            record.usage = _whole_usage(sent, asked, body)
            if sent.translation is not None and asked.stream:
                body = sent.translation.reply_as_stream(self.filters.reply(body))
                headers = _with_type(headers, b"text/event-stream")
            else:
                body = self.filters.reply(sent.translation.reply(body) if sent.translation else body)
        else:
            record.error = f"{sent.target.name} answered {reply.status}"
            if sent.translation is not None or not body.lstrip().startswith(b"{"):
                body = error_in(asked.form, body, reply.status)
                headers = _with_type(headers, b"application/json")
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [*headers, (b"content-length", str(len(body)).encode())],
            }
        )
        record.complete = True
        await send({"type": "http.response.body", "body": body})

    async def _stream(
        self,
        asked: Asked,
        reply: Reply,
        first: AsyncIterator[bytes],
        sent: Sendable,
        headers: list[tuple[bytes, bytes]],
        record: Record,
        send: Send,
    ) -> None:
        """Events go out as they arrive, whole: half an event is no use to a client, and would spoil the error event."""
        change = sent.translation
        tap = StreamTap(asked.form if change is None else change.provider)
        events = whole_events(first) if change is None else change.stream(_tapped(whole_events(first), tap))
        if self.filters.response_filters:
            events = self._filtered(asked.form, events)
        started = False
        try:
            async for chunk in events:
                if not started:
                    started = True
                    record.first_byte = time.time() - record.at
                    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if change is None:
                    tap.feed(chunk)
        except Unreachable as error:
            record.error = f"{sent.target.name}: {error}"
            if not started:
                raise Refusal(502, record.error, code="upstream_broke_off") from None
            refusal = Refusal(502, record.error, code="upstream_broke_off")
            await send({"type": "http.response.body", "body": refusal.event(asked.form), "more_body": True})
        finally:
            record.usage, record.complete = tap.usage, tap.complete
        if not started:
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        record.complete = True
        await send({"type": "http.response.body", "body": b""})

    async def _filtered(self, form: WireName, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What a filter looks for may be cut in two by a chunk: the answer is held until it is whole."""
        held = b"".join([chunk async for chunk in events])

        async def once() -> AsyncIterator[bytes]:
            yield held

        found = [event async for several in read_stream(form, once()) for event in several]
        yield self.filters.events(form, found, held)


async def _tapped(events: AsyncIterator[bytes], tap: StreamTap) -> AsyncIterator[bytes]:
    """The provider's events, their usage noted: not every client is told all of it, or any."""
    async for chunk in events:
        tap.feed(chunk)
        yield chunk


def _whole_usage(sent: Sendable, asked: Asked, body: bytes) -> Usage | None:
    form = asked.form if sent.translation is None else sent.target.format
    if b'"usage"' not in body:
        return None
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return usage_from(form, data.get("usage")) if isinstance(data, dict) else None


def _answer_headers(reply: Reply, sent: Sendable, decision: Decision) -> list[tuple[bytes, bytes]]:
    """The provider's headers and ours; when and by what software it was served, our own server says."""
    left_out = (*HOP_BY_HOP, "date", "server")
    headers = [
        (name.lower(), value) for name, value in reply.raw_headers if name.decode("latin-1").lower() not in left_out
    ]
    dropped = sent.translation.dropped if sent.translation else ()
    said = [(b"x-harness-dropped", _header(", ".join(dropped)))] if dropped else []
    return [*headers, *decision_headers(sent.target.name, decision), *said]


def _with_type(headers: list[tuple[bytes, bytes]], kind: bytes) -> list[tuple[bytes, bytes]]:
    return [*((name, value) for name, value in headers if name != b"content-type"), (b"content-type", kind)]


def decision_headers(model: str, decision: Decision) -> list[tuple[bytes, bytes]]:
    """`x-harness-model`, `-route`, `-reason`: which model, and why; `-warning`: what could not be asked."""
    warned = [(b"x-harness-warning", _header("; ".join(decision.warnings)))] if decision.warnings else []
    return [
        (b"x-harness-model", _header(model)),
        (b"x-harness-route", _header(decision.route or "none")),
        (b"x-harness-reason", _header(decision.reason)),
        *warned,
    ]


def _header(text: str) -> bytes:
    """Text that is safe in a header: one line, ASCII, bounded."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:300].encode("ascii")


def _retry_after(reply: Reply) -> float | None:
    try:
        return max(0.0, float(reply.headers.get("retry-after", "")))
    except ValueError:
        return None
