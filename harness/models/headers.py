"""Headers that every call carries, whatever it is called over."""

from __future__ import annotations

import re

from harness.types import ModelRequest

AFFINITY = "X-Model-Affinity"
"""Session id: gateways pin the session to one model by it, so that caches stay warm."""
CALL = "X-Harness-Call"
"""Which piece of work asks: `phase=execute; issue=bd-1; task=t3; tier=haiku; attempt=2; turn=4`, for a gateway's
accounting. It tells nothing that the prompt does not tell."""


def call_headers(request: ModelRequest) -> dict[str, str]:
    """The headers of one request; ids are reduced to characters that a header may hold."""
    told = {
        "phase": request.phase,
        "issue": request.issue_id,
        "task": request.task_id,
        "tier": request.pool.tier,
        "attempt": request.attempt,
        "turn": request.turn,
    }
    call = "; ".join(f"{key}={_plain(str(value))}" for key, value in told.items() if value)
    affinity = request.affinity or "/".join(filter(None, (request.run_id, request.phase, request.task_id)))
    trace = {"traceparent": request.traceparent} if request.traceparent else {}
    return {CALL: call} | ({AFFINITY: _plain(affinity)} if affinity else {}) | trace


def read_call(header: str) -> dict[str, str]:
    """The pairs of an `X-Harness-Call` header; anything else in it is passed over."""
    pairs = (part.partition("=") for part in header.split(";"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:/@#-]", "_", text)
