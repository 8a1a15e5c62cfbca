"""An answer of the gateway's own that is an error, in the wire format of whoever asked."""

from __future__ import annotations

from typing import Any

import orjson

from harness.config.targets import WireName
from harness.errors import HarnessError

_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class Refusal(HarnessError):
    """`status` is HTTP's; `param` names the field at fault; `code` is for programs; `retry_after` in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.details = status, param, code, details
        self.retry_after, self.kind = retry_after, kind

    def body(self, form: WireName) -> dict[str, Any]:
        """The error object as that wire format's clients expect it."""
        if form == "messages":
            kind = self.kind or _ANTHROPIC.get(
                self.status, "invalid_request_error" if self.status < 500 else "api_error"
            )
            error: dict[str, Any] = {"type": kind, "message": self.message}
            if self.details:
                error["details"] = self.details
            return {"type": "error", "error": error}
        kind = self.kind or _OPENAI.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": {**error, "details": self.details} if self.details else error}

    def event(self, form: WireName) -> bytes:
        """The error as the last event of a stream that had begun."""
        if form == "messages":
            return b"event: error\ndata: " + orjson.dumps(self.body(form)) + b"\n\n"
        if form == "chat":
            return b"data: " + orjson.dumps(self.body(form)) + b"\n\n"
        event = {
            "type": "error",
            "code": self.code or "upstream_error",
            "message": self.message,
            "param": self.param,
            "sequence_number": 0,
        }
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
