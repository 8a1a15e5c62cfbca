"""A request's bytes: read within a bound, parsed once, and rewritten only where routing changed the model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from harness.gateway.refusal import Refusal

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")


class ClientGone(Exception):
    """The client hung up before its request was complete."""


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body, decompressed; raises Refusal (413, 415) or ClientGone."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
        body = b"".join(parts)
    if len(body) > limit:
        raise _too_large(limit)
    encoding = headers.get("content-encoding", "identity").lower()
    return body if encoding == "identity" else _inflate(body, encoding, limit)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding not in ("gzip", "deflate"):
        raise Refusal(
            415, f"content-encoding '{encoding}' is not supported; send gzip, deflate or none", param="content-encoding"
        )
    machine = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        plain = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not valid {encoding}: {error}") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not machine.eof:
        raise Refusal(400, f"the body is not valid {encoding}: it ends too early")
    return plain


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413, f"the request is larger than {limit / 1048576:g} MB, this gateway's limit", code="request_too_large"
    )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises Refusal (400) that says where it is wrong."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        problem = "the body is empty" if not body.strip() else f"the body is not valid JSON: {error}"
        raise Refusal(400, problem, code="invalid_json") from None
    if not isinstance(data, dict):
        raise Refusal(400, f"the body must be a JSON object, not {_json_kind(data)}", code="invalid_json")
    return data


def _json_kind(data: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if data is None else names[type(data)]


def with_model(raw: bytes, parsed: Mapping[str, Any], model: str) -> bytes:
    """`raw` with its top-level `model` replaced and every other byte as it was; no `model` yet: added in front."""
    value = orjson.dumps(model)
    if "model" not in parsed:
        start = raw.index(b"{") + 1
        return raw[:start] + b'"model":' + value + (b"," if parsed else b"") + raw[start:]
    spans = _model_spans(raw, stop_at_first=raw.count(b'"model"') == 1)
    if not spans:  # the key is written with escapes
        return orjson.dumps({**parsed, "model": model})
    for start, end in reversed(spans):
        raw = raw[:start] + value + raw[end:]
    return raw


def _model_spans(raw: bytes, stop_at_first: bool) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    depth, position = 0, 0
    while (match := _TOKEN.search(raw, position)) is not None:
        token, position = raw[match.start()], match.end()
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        elif depth == 1 and raw[match.start() : position] == b'"model"':
            colon = _end_of_space(raw, position)
            if raw[colon : colon + 1] != b":":
                continue
            start = _end_of_space(raw, colon + 1)
            end = _value_end(raw, start)
            spans.append((start, end))
            position = end
            if stop_at_first:
                break
    return spans


def _end_of_space(raw: bytes, position: int) -> int:
    match = _SPACE.match(raw, position)
    return match.end() if match else position


def _value_end(raw: bytes, start: int) -> int:
    match = _TOKEN.match(raw, start)
    if match is None:  # a number, null, true or false
        return min(found for mark in b",} \t\r\n" if (found := raw.find(bytes((mark,)), start)) >= 0)
    if raw[start] not in b"{[":
        return match.end()
    depth, position = 1, match.end()
    while depth:
        match = _TOKEN.search(raw, position)
        if match is None:
            return len(raw)
        position = match.end()
        depth += {123: 1, 91: 1, 125: -1, 93: -1}.get(raw[match.start()], 0)
    return position
