"""A model call that an agent made through the door, as a span: which model, how it ended, the usage its answer tells.

The answer's bytes pass by as they are; what is read of them is a copy, bounded, and only while somebody records.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from harness.config.targets import WireName
from harness.models.genai import called, spent
from harness.models.wire_usage import StreamTap, usage_from
from harness.spans import Span, Spans
from harness.types import Usage

FORMS: Mapping[str, WireName] = {
    "/v1/messages": "messages",
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
}
KEPT_BYTES = 8 << 20


class Forwarded:
    """Watches one forwarded request; costs nothing when nobody records."""

    def __init__(self, spans: Spans, parent: Mapping[str, str], provider: str, path: str, body: bytes) -> None:
        self._recording, self._form = spans.recording, FORMS.get(path)
        self._span = Span()
        self._kept, self._encoding, self._streamed = bytearray(), "", False
        if spans.recording:
            asked = _object(body)
            model = str(asked.get("model") or "")
            names = {**called("chat", provider, model), "gen_ai.request.stream": asked.get("stream") is True}
            self._span = spans.begin(f"chat {model}".strip(), names, "client", parent)

    def broken(self, kind: str) -> None:
        """Nobody answered."""
        self._span.fail(kind)
        self._span.end()

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer's head is here."""
        self._encoding = headers.get("content-encoding", "").lower()
        self._streamed = "event-stream" in headers.get("content-type", "")
        self._span.set({"http.response.status_code": status})
        if status >= 400:
            self._span.fail(str(status))

    def feed(self, chunk: bytes) -> None:
        """Some of the answer went by."""
        if self._recording and len(self._kept) < KEPT_BYTES:
            self._kept += chunk

    def end(self) -> None:
        """The answer is over, or its reader is gone."""
        if self._recording and self._form is not None:
            usage = self._usage(self._form)
            if usage is not None:
                # Its price is on the attempt: there settings' own prices are known, and what the agent claims.
                self._span.set(spent(usage.model_copy(update={"unpriced_requests": 1})))
        self._span.end()

    def _usage(self, form: WireName) -> Usage | None:
        text = _plain(bytes(self._kept), self._encoding)
        if self._streamed:
            tap = StreamTap(form)
            tap.feed(text)
            return tap.usage
        answer = _object(text)
        self._span.set({"gen_ai.response.model": str(answer["model"]) if answer.get("model") else None})
        return usage_from(form, answer.get("usage"))


def _plain(data: bytes, encoding: str) -> bytes:
    """Unpacked, as far as it is whole; encodings of others are left unread."""
    try:
        if encoding == "gzip":
            return gzip.decompress(data)
        if encoding == "deflate":
            return zlib.decompress(data)
    except (OSError, EOFError, zlib.error):
        return b""
    return data if not encoding or encoding == "identity" else b""


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
