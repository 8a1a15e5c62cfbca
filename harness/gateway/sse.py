"""Server-sent events on their way through: cut only between events, begun only when there is something to send."""

from __future__ import annotations

from collections.abc import AsyncIterator

from harness.gateway.translate import provider_message
from harness.gateway.upstream import Reply, Unreachable

_SPLICE_LIMIT = 1 << 20


async def begun(reply: Reply) -> AsyncIterator[bytes]:
    """The reply's chunks, once the first is here: a model that dies before it can still be replaced."""
    chunks = reply.chunks()
    try:
        first = await anext(chunks, b"")
    except Unreachable:
        reply.close()
        raise
    if reply.streams and reply.status < 400 and first.startswith((b"event: error", b'data: {"error"')):
        reply.close()
        told = first.partition(b"data:")[2].partition(b"\n")[0].strip()
        raise Unreachable("body", f"answered with an error: {provider_message(told)}")

    async def go_on() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return go_on()


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, cut after whole events; what the connection ends in the middle of comes last."""
    held = b""
    async for chunk in chunks:
        data = held + chunk if held else chunk
        end = _last_boundary(data)
        if not end and len(data) > _SPLICE_LIMIT:
            end = len(data)
        held = data[end:]
        if end:
            yield data[:end] if held else data
    if held:
        yield held


def _last_boundary(data: bytes) -> int:
    """Where the last whole event ends; 0 when none does."""
    if data.endswith(b"\n\n"):
        return len(data)
    unix, dos = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
    return max(unix + 2 if unix >= 0 else 0, dos + 4 if dos >= 0 else 0)
